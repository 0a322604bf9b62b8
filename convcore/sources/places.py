"""Places in a file's tree: what lies at ``--key``, and what lies beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from convcore.errors import SourceError, UsageError
from convcore.formats import Opaque, as_mapping, as_state_dict
from convcore.formats.tree import iter_parts, part_name
from convcore.names import nearest
from convcore.sources.groups import scan
from convcore.sources.names import key_text
from convcore.sources.networks import is_network
from convcore.sources.source import Input
from convcore.sources.vocabulary import is_module
from convcore.tensors import LazyTensor

_SHOWN = 12
# A bare state dict of 40,000 tensors is asked about each of them by several sources.
MOST_ENTRIES = 100_000


def state_dict_of(value: Any) -> Mapping[str, LazyTensor] | None:
    """Return the tensors of a state dict or a whole pickled module; None if it is neither.

    Entries that are no tensors are passed over where most entries are tensors (a state dict may
    carry a version number or extra state).
    """
    module = as_state_dict(value)
    if module:
        return module
    if not isinstance(value, Mapping):
        return None
    count = sum(isinstance(item, LazyTensor) for item in value.values())
    return tensors_of(value) if count * 2 > len(value) else None


def tensors_of(entries: Mapping[Any, Any]) -> dict[str, LazyTensor]:
    """Return the entries that are tensors, by their keys as text.

    Raises:
        SourceError: Two keys are spelt alike (``1`` and ``"1"``), so that one would be lost.
    """
    tensors: dict[str, LazyTensor] = {}
    for key, item in entries.items():
        if not isinstance(item, LazyTensor):
            continue
        name = key_text(key)
        if name in tensors:
            raise SourceError(
                f"two tensors have keys that are spelt alike: {name[:200]!r}",
                remedy="save the state dict again with a name of its own for each tensor",
            )
        tensors[name] = item
    return tensors


def state_dicts(tree: Any) -> dict[str, Mapping[str, LazyTensor]]:
    """Return the networks below a file's entries, by their dotted places."""
    if not isinstance(tree, Mapping) or len(tree) > MOST_ENTRIES:
        return {}
    entries = {key: value for key, value in tree.items() if not isinstance(value, LazyTensor)}
    return {
        group.place: group.tensors
        for group in scan(entries, file="checkpoint", training=False)
        if not group.inside and is_network(group)
    }


def resolve(given: Input, tree: Any, key: str) -> tuple[tuple[str, ...], Any]:
    """Return the way to what lies at ``--key``, a dotted path from the top of a file, and that.

    Raises:
        UsageError: There is nothing at that path.
    """
    value, rest, path = tree, key, []
    while rest:
        entries = _entries(value)
        best = _first_step(entries, rest)
        if best is None:
            known = [str(k) for k in entries][:_SHOWN]
            raise UsageError(
                f"{given.path.name} has nothing at --key {key}",
                seen=(f"there: {', '.join(known) or 'no entries'}", *nearest(rest, known)),
                remedy="give the dotted path of a state dict",
            )
        path.append(best)
        value, rest = entries[best], rest[len(best) + 1 :]
    return tuple(path), value


def follow(given: Input, tree: Any, key: str) -> Mapping[str, LazyTensor]:
    """Return the state dict at ``--key``, a dotted path from the top of the file.

    Raises:
        UsageError: There is nothing, or no state dict, at that path.
    """
    _, value = resolve(given, tree, key)
    tensors = state_dict_of(value)
    if not tensors:
        raise no_state_dict(given, key, value)
    return tensors


def no_state_dict(given: Input, key: str, value: Any) -> UsageError:
    """The error for a ``--key`` that leads to something without weights."""
    kind = value.qualified_name if type(value) is Opaque else type(value).__name__
    return UsageError(
        f"--key {key} of {given.path.name} is no state dict",
        seen=[f"it is a {kind}"],
        remedy="give the dotted path of a mapping from names to tensors",
    )


def beside(tree: Any, key: str) -> dict[Any, Any]:
    """Return a file's entries without the state dict at a dotted path, so that none is forgotten.

    What a state dict holds beside tensors (extra state) stays, since it may hold tensors itself.
    """
    entries: dict[Any, Any] = dict(_entries(tree))
    best = _first_step(entries, key)
    if best is None:
        return entries
    rest = key[len(best) + 1 :]
    value = entries[best]
    if rest:
        left = beside(value, rest)
    elif isinstance(value, Mapping):
        left = {name: item for name, item in value.items() if not isinstance(item, LazyTensor)}
    else:
        left = {}
    entries[best] = left
    return entries if left else {name: item for name, item in entries.items() if name != best}


def _entries(value: Any) -> dict[str, Any]:
    """Return what a path may lead to: entries by key, items by place, attributes by name."""
    mapping = as_mapping(value)
    if mapping is not None:
        return {part_name(key): item for key, item in mapping.items()}
    if is_module(value):
        return dict(_attributes(value))
    return dict(iter_parts(value))


def _attributes(module: Opaque) -> Iterator[tuple[str, Any]]:
    for name, item in iter_parts(module):
        if name == "_modules" and isinstance(item, dict):
            yield from ((str(key), part) for key, part in item.items())
        else:
            yield name, item


def _first_step(entries: Mapping[str, Any], path: str) -> str | None:
    # A key may itself hold dots: the longest one that fits wins.
    fits = [key for key in entries if f"{path}.".startswith(f"{key}.")]
    return max(fits, key=len, default=None)
