"""Source ``state-dict``: weights saved bare, wrapped, or as a whole pickled module."""

from __future__ import annotations

from collections.abc import Mapping

from convcore.archive import LazyTensor
from convcore.errors import SourceError
from convcore.hookspecs import hookimpl
from convcore.model import Checkpoint, Input, Source
from convcore.unwrap import choose, follow, make_checkpoint, state_dict_of

NAME = "state-dict"


def read(given: Input) -> Checkpoint | None:
    """Read a file that holds a state dict somewhere near its top."""
    if given.archive is None:
        return None
    tree = given.archive.tree
    if given.key is not None:
        tensors = follow(given, tree, given.key)
        return make_checkpoint(
            given, tensors, source=NAME, evidence=(f"state dict at --key {given.key}",)
        )
    if isinstance(tree, LazyTensor):
        return make_checkpoint(given, {"tensor": tree}, source=NAME, evidence=("one bare tensor",))
    if isinstance(tree, list | tuple):
        items = {str(i): item for i, item in enumerate(tree) if isinstance(item, LazyTensor)}
        return make_checkpoint(
            given,
            items,
            source=NAME,
            evidence=(f"a list of {len(tree)} items, {len(items)} tensors",),
        )
    tensors = state_dict_of(tree) or {}
    if tensors:
        whole = not isinstance(tree, Mapping)
        said = "a whole pickled module, its tensors taken without its class" if whole else "bare"
        rest = {} if whole else {k: v for k, v in tree.items() if k not in tensors}
        return make_checkpoint(
            given, tensors, source=NAME, beside=rest, evidence=(f"state dict: {said}",)
        )
    if not isinstance(tree, Mapping):
        return None
    chosen = choose(given, tree)
    if chosen is None:
        loose = {str(k): v for k, v in tree.items() if isinstance(v, LazyTensor)}
        if not loose:
            raise SourceError(
                f"{given.path.name} holds no state dict",
                seen=[f"top-level keys: {', '.join(map(str, list(tree)[:20])) or 'none'}"],
                remedy="name the place of the weights with --key PATH, or save model.state_dict()",
            )
        chosen = "", loose
    key, tensors = chosen
    rest = {k: v for k, v in tree.items() if k != key and k not in tensors}
    said = (
        f"state dict under {key!r}" if key else f"{len(tensors)} loose tensors among other values"
    )
    return make_checkpoint(given, tensors, source=NAME, beside=rest, evidence=(said,))


@hookimpl
def convcore_sources() -> list[Source]:
    """Declare the source."""
    return [Source(NAME, "a bare or wrapped state dict, a list of tensors, a pickled module", read)]
