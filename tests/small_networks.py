"""What a layout file may name as a network, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from nowhere import Number  # type: ignore[import-not-found]  # a name for checkers alone


class Small(nn.Linear):
    """A class with a constructor of its own."""

    @classmethod
    def of(cls, in_features: int, out_features: int) -> Small:
        """Return a small network."""
        return cls(in_features, out_features)


def annotated(in_features: Number, out_features: Number) -> nn.Module:
    """Return a network, and say so."""
    return nn.Linear(in_features, out_features)


def unannotated(in_features, out_features):  # type: ignore[no-untyped-def]  # that is the point
    """Return a network, and do not say so."""
    return nn.Linear(in_features, out_features)


def of_a_number(in_features: int, out_features: int) -> int:
    """Return no network."""
    return in_features + out_features


READY = nn.Linear(3, 2)
