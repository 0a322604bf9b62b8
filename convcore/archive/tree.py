"""Walking an object tree for its tensors, by an explicit stack and within budgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convcore.archive.budgets import DEFAULT_BUDGETS, Budgets
from convcore.archive.faults import Malformed
from convcore.archive.lazy import LazyTensor, TypedStorage
from convcore.model import Opaque

_SIMPLE = frozenset({str, int, float, bool, bytes, type(None), complex})


def walk_tensors(
    tree: Any, *, budgets: Budgets = DEFAULT_BUDGETS
) -> Iterator[tuple[str, LazyTensor]]:
    """Yield every tensor of a tree with its dotted name, in the order of the file.

    A part that is shared is walked under each of its names; one that contains itself is not
    entered again. A tree that is a tensor has the name ``""``.

    Raises:
        SourceError: The tree is nested too deeply, or too large once shared parts are counted
            each time.
    """
    path: list[int] = []
    stack: list[tuple[str, Any, int]] = [("", tree, 0)]
    nodes = 0
    while stack:
        name, value, depth = stack.pop()
        del path[depth:]
        if type(value) is LazyTensor:
            yield name, value
            continue
        if type(value) is TypedStorage:
            yield name, value.tensor()
            continue
        if id(value) in path:
            continue
        children = [pair for pair in named_parts(value) if type(pair[1]) not in _SIMPLE]
        nodes += 1 + len(children)
        if nodes > budgets.nodes or depth > budgets.depth:
            limit = "nested too deeply" if depth > budgets.depth else "too large when expanded"
            raise Malformed(f"the object tree is {limit}").at("checkpoint", name[:200])
        path.append(id(value))
        prefix = f"{name}." if name else ""
        stack.extend((prefix + part, item, depth + 1) for part, item in reversed(children))


def named_parts(value: Any) -> list[tuple[str, Any]]:
    """The parts of one value, each with its name; none for plain values."""
    if isinstance(value, dict):
        return [(part_name(key), item) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [(str(index), item) for index, item in enumerate(value)]
    if type(value) is Opaque:
        return _opaque_parts(value)
    return []


def _opaque_parts(value: Opaque) -> list[tuple[str, Any]]:
    parts: list[tuple[str, Any]] = []
    state = value.state
    if isinstance(state, dict):
        parts += named_parts(state)
    elif state is not None:
        parts.append(("state", state))
    parts += [(f"args.{index}", item) for index, item in enumerate(value.args)]
    parts += [(f"kwargs.{part_name(key)}", item) for key, item in value.kwargs.items()]
    for index, item in enumerate(value.content.get("items", ())):
        if type(item) is tuple and len(item) == 2 and type(item[0]) is str:
            parts.append((part_name(item[0]), item[1]))
        else:
            parts.append((f"items.{index}", item))
    return parts


def part_name(key: Any) -> str:
    """A dictionary key as part of a dotted name."""
    if type(key) is str:
        return key
    if type(key) is Opaque:
        return key.qualified_name
    if type(key) is int and not -(1 << 64) < key < 1 << 64:
        return hex(key)[:100]
    return str(key)[:100] if type(key) in _SIMPLE else type(key).__name__
