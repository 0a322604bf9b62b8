"""The formats convcore comes with: torch's three, safetensors, and sets of shards."""

from __future__ import annotations

from collections.abc import Sequence

from convcore import Format, hookimpl
from convcore.formats import FORMATS

convcore_api = 2


@hookimpl
def convcore_formats() -> Sequence[Format]:
    """Declare the formats."""
    return FORMATS
