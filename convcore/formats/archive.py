"""What an opened file is made of, beside plain values and lazy tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.noun import Noun


@attrs.frozen(eq=False, repr=False)
class Opaque(Noun):
    """A class or object of a pickle, named as the file names it and never imported.

    Attributes:
        module: Module part of the name, as written.
        name: Class or function part, as written.
        how: The way it was met: ``global`` (the bare name), ``reduce``, ``newobj``, ``pid``.
        args: Arguments it was built with, as plain data.
        kwargs: Keyword arguments, likewise.
        state: What BUILD gave it, merged when several.
        items: What SETITEM(S), APPEND(S) or ADDITEMS gave it: pairs for the first, else values.
    """

    module: str
    name: str
    how: str = "global"
    args: tuple[Any, ...] = attrs.field(default=(), eq=False, repr=False)
    kwargs: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    content: dict[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    # Two objects of one class are two objects: identity, so that a class can be a dictionary key.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def qualified_name(self) -> str:
        """``module.name`` as the file spells it."""
        return f"{self.module}.{self.name}"

    @property
    def state(self) -> Any:
        """What BUILD gave the object, or None."""
        return self.content.get("state")

    @property
    def items(self) -> list[Any]:
        """What was set, appended or added to the object, in order."""
        items: list[Any] = self.content.setdefault("items", [])
        return items


@attrs.frozen(eq=False, repr=False)
class Archive(Noun):
    """The object tree of one file; tensors in it are ``LazyTensor``, unknown classes ``Opaque``.

    Attributes:
        path: The file that was opened.
        format: ``torch-zip``, ``torch-legacy``, ``torch-tar`` or ``safetensors``.
        tree: Plain values, containers, ``LazyTensor`` and ``Opaque``.
        opaque: Qualified names met and not imported, with how often.
        metadata: What the format itself says (safetensors ``__metadata__``, byte order).
        evidence: Sentences saying how the file was understood, where that was not plain.
    """

    path: Path
    format: str
    tree: Any = attrs.field(eq=False, repr=False)
    opaque: Mapping[str, int] = attrs.field(factory=dict, repr=False)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    evidence: tuple[str, ...] = attrs.field(default=(), repr=False)
