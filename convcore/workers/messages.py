"""attrs objects as messages of workers, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def as_message(value: Any) -> dict[str, Any]:
    """An attrs object as what JSON can hold."""
    import cattrs

    message: dict[str, Any] = cattrs.unstructure(value)
    return message


def from_message(message: Mapping[str, Any], kind: type[T]) -> T:
    """Read back what ``as_message`` made."""
    import cattrs

    return cattrs.structure(message, kind)
