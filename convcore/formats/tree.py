"""Walking an object tree for its tensors, by an explicit stack and within budgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.budgets import DEFAULT_BUDGETS, Budgets
from convcore.formats.typed_storage import TypedStorage
from convcore.tensors.faults import Malformed
from convcore.tensors.lazy_tensor import LazyTensor

_SIMPLE = frozenset({str, int, float, bool, bytes, type(None), complex})


def walk_tensors(
    tree: Any, *, file: object = "checkpoint", budgets: Budgets = DEFAULT_BUDGETS
) -> Iterator[tuple[str, LazyTensor]]:
    """Yield every tensor of a tree with its dotted name, in the order of the file.

    A part that is shared is walked under each of its names; one that contains itself is not
    entered again. A tree that is a tensor has the name ``""``; names spelt alike end in ``#2``.

    Raises:
        SourceError: The tree is nested too deeply, or too large once shared parts are counted
            each time.
    """
    trail = Trail()
    # Iterators, not lists of parts: a wide tree would otherwise be held a second time.
    stack = [("", iter([("", tree)]))]
    nodes, simple = 0, 0
    names = _Names(file, budgets)
    while stack:
        prefix, parts = stack[-1]
        depth = len(stack) - 1
        for part, value in parts:
            kind = type(value)
            if kind in _SIMPLE:
                simple += 1
                continue
            if kind is LazyTensor:
                yield names.unique(prefix + part), value
                continue
            if kind is TypedStorage:
                yield names.unique(prefix + part), value.tensor()
                continue
            if not trail.enter(value, depth):
                continue
            name = names.checked(prefix + part)
            nodes += 1
            if nodes + simple // 8 > budgets.nodes or depth > budgets.depth:
                limit = "nested too deeply" if depth > budgets.depth else "too large when expanded"
                raise Malformed(f"the object tree is {limit}").at(file, name[:80])
            stack.append((f"{name}." if name else "", iter_parts(value)))
            break
        else:
            stack.pop()


class Trail:
    """The values a depth-first walk is inside of, to tell a cycle from a shared part."""

    def __init__(self) -> None:
        self.path: list[int] = []
        self.inside: set[int] = set()

    def enter(self, value: Any, depth: int) -> bool:
        """Leave everything at ``depth`` and below, then enter; False if already inside."""
        while len(self.path) > depth:
            self.inside.discard(self.path.pop())
        if id(value) in self.inside:
            return False
        self.path.append(id(value))
        self.inside.add(id(value))
        return True


class _Names:
    """Dotted names, each given once, and not more text than a real checkpoint has."""

    def __init__(self, file: object, budgets: Budgets) -> None:
        self.file = file
        self.budgets = budgets
        self.given: set[str] = set()
        self.length = 0

    def checked(self, name: str) -> str:
        """The name, if it is no longer than any real one."""
        if len(name) > self.budgets.dotted_name:
            raise Malformed(f"a tensor name has {len(name)} characters").at(self.file)
        return name

    def unique(self, name: str) -> str:
        """The name, told apart from one that is spelt alike (``{"a.b": …, "a": {"b": …}}``)."""
        name = self.checked(name)
        self.length += len(name)
        if self.length > self.budgets.text_bytes:
            raise Malformed("the names of the tensors are too long in all").at(self.file)
        if name in self.given:
            count = 2
            while f"{name}#{count}" in self.given:
                count += 1
            name = f"{name}#{count}"
        self.given.add(name)
        return name


def iter_parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of one value, each with its name; none for plain values."""
    if isinstance(value, dict):
        return ((part_name(key), item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ((str(index), item) for index, item in enumerate(value))
    if type(value) is Opaque:
        return _opaque_parts(value)
    return iter(())


def _opaque_parts(value: Opaque) -> Iterator[tuple[str, Any]]:
    state = value.state
    if isinstance(state, dict):
        yield from iter_parts(state)
    elif state is not None:
        yield "state", state
    yield from ((f"args.{index}", item) for index, item in enumerate(value.args))
    yield from ((f"kwargs.{part_name(key)}", item) for key, item in value.kwargs.items())
    for index, item in enumerate(value.content.get("items", ())):
        if type(item) is tuple and len(item) == 2 and type(item[0]) is str:
            yield part_name(item[0]), item[1]
        else:
            yield f"items.{index}", item


def part_name(key: Any) -> str:
    """A dictionary key as part of a dotted name."""
    if type(key) is str:
        return key
    if type(key) is Opaque:
        return key.qualified_name
    if type(key) is int and not -(1 << 64) < key < 1 << 64:
        return hex(key)[:100]
    return str(key)[:100] if type(key) in _SIMPLE else type(key).__name__
