"""The tests of tensors save files as those of formats do."""

from tests.formats.conftest import save

__all__ = ["save"]
