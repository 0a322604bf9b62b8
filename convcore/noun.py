"""What the frozen classes share: one equality, one hash and one repr for all of them."""

from __future__ import annotations

from typing import Any

import attrs


class Noun:
    """Base of a class decorated with ``@attrs.frozen(eq=False, repr=False)``.

    It behaves as one decorated without these arguments. attrs would compile three methods for each
    class at every start of the program, which took longer than reading a checkpoint.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        """Two of one class are equal where the fields that count are."""
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _compared(self) == _compared(other)

    def __hash__(self) -> int:
        """Equal things have equal hashes."""
        return hash((self.__class__, _compared(self)))

    def __repr__(self) -> str:
        """The call that makes an equal one, less the fields that are not shown."""
        shown = ", ".join(f"{f.alias}={getattr(self, f.name)!r}" for f in _fields(self) if f.repr)
        return f"{self.__class__.__qualname__}({shown})"


def _compared(thing: Any) -> tuple[Any, ...]:
    return tuple(getattr(thing, field.name) for field in _fields(thing) if field.eq)


def _fields(thing: Any) -> tuple[attrs.Attribute[Any], ...]:
    found: tuple[attrs.Attribute[Any], ...] = attrs.fields(type(thing))
    return found
