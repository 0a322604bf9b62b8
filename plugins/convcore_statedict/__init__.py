"""Source ``state-dict``: weights saved bare, wrapped, or as a whole pickled module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convcore.errors import SourceError
from convcore.host.hookspecs import hookimpl
from convcore.sources.source import Checkpoint, Input, Source
from convcore.tensors import LazyTensor
from convcore.unwrap import (
    CANONICAL,
    MOST_ENTRIES,
    WHOLE,
    beside,
    choose,
    follow,
    make_checkpoint,
    state_dict_of,
    tensors_of,
    turned_to_text,
)

NAME = "state-dict"


def read(given: Input) -> Checkpoint | None:
    """Read a file that holds a state dict somewhere near its top."""
    if given.archive is None:
        return None
    tree = given.archive.tree
    tensors: Mapping[str, LazyTensor]
    rest: dict[str, Any]
    if given.key is not None:
        tensors = follow(given, tree, given.key)
        said, rest = f"state dict at --key {given.key}", beside(tree, given.key)
    elif isinstance(tree, LazyTensor):
        tensors, said, rest = {"tensor": tree}, "one bare tensor", {}
    elif state_dict_of(tree) and not _wraps_a_model(tree):
        tensors, said, rest = _bare(tree)
    elif isinstance(tree, Mapping | list | tuple):
        tensors, said, rest = _wrapped(given, tree)
    else:
        return None
    evidence = (said, *(turned_to_text(tree) if isinstance(tree, Mapping) else ()))
    return make_checkpoint(given, tensors, source=NAME, beside=rest, evidence=evidence)


def _wraps_a_model(tree: Any) -> bool:
    """Whether loose tensors, however many, only lie beside the model that a wrapper's name says."""
    if not isinstance(tree, Mapping):
        return False
    loose = sum(isinstance(value, LazyTensor) for value in tree.values())
    inner = {name: len(state_dict_of(tree.get(name)) or ()) for name in WHOLE}
    return any(inner[name] for name in CANONICAL) or max(inner.values()) >= loose


def _bare(tree: Any) -> tuple[Mapping[str, LazyTensor], str, dict[str, Any]]:
    tensors = state_dict_of(tree) or {}
    if not isinstance(tree, Mapping):
        return tensors, "a whole pickled module, its tensors taken without its class", {}
    rest = {key: value for key, value in tree.items() if not isinstance(value, LazyTensor)}
    return tensors, "bare state dict", rest


def _wrapped(
    given: Input, tree: Mapping[Any, Any] | list[Any] | tuple[Any, ...]
) -> tuple[Mapping[str, LazyTensor], str, dict[str, Any]]:
    listed = not isinstance(tree, Mapping)
    if len(tree) > MOST_ENTRIES:
        raise SourceError(
            f"{given.path.name} holds {len(tree):,} entries that are no state dict",
            remedy="name the place of the weights with --key PATH, or save model.state_dict()",
        )
    # The entries of a list are called by their place in it.
    entries = dict(tree) if isinstance(tree, Mapping) else {str(i): v for i, v in enumerate(tree)}
    loose = tensors_of(entries)
    chosen = choose(given, entries)
    if chosen is not None:
        key, tensors = chosen
        return tensors, f"state dict under {key!r}", beside(entries, key)
    if not loose and not listed:
        raise SourceError(
            f"{given.path.name} holds no state dict",
            seen=[f"top-level keys: {', '.join(map(str, list(entries)[:20])) or 'none'}"],
            remedy="name the place of the weights with --key PATH, or save model.state_dict()",
        )
    rest = {name: value for name, value in entries.items() if not isinstance(value, LazyTensor)}
    what = "list" if listed else "dict"
    return loose, f"{len(loose)} tensors among the {len(entries)} items of a {what}", rest


@hookimpl
def convcore_sources() -> list[Source]:
    """Declare the source."""
    return [Source(NAME, "a bare or wrapped state dict, a list of tensors, a pickled module", read)]
