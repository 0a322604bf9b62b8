"""Which tensors go into a weight file, under which names, and which cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from convcore.errors import LayoutError, SourceError
from convcore.layouts.layout import Component, LayoutMatch
from convcore.names import counted, few, shared_prefix
from convcore.tensors import LazyTensor

# Views may repeat what is stored (an expanded mask); beyond this a few bytes would fill the disk.
_REPEATED, _SMALL = 16, 256 << 20


def local_names(match: LayoutMatch, component: str) -> dict[str, str]:
    """Map a component's names in its own file to names in the checkpoint.

    Keys the layout drops are left out; the prefix that all keys share is removed, as far as
    the component does not keep it.
    """
    keys = [key for key in match.states[component] if key not in match.dropped]
    part = next(part for part in match.layout.components if part.name == component)
    prefix = _taken_off(part, keys)
    return {key[len(prefix) :]: key for key in keys}


def _taken_off(part: Component, keys: list[str]) -> str:
    """Return what a component's files leave out at the beginning of every key.

    Raises:
        LayoutError: The keys have no such part as the component is said to keep.
    """
    if part.prefix is not None:
        return part.prefix
    shared = "" if part.whole_names else shared_prefix(keys)
    if not part.keep or not keys:
        return shared
    # A network's own modules may bear the name too (`model.model.`): the first one is kept.
    own = [key for key in part.keys if key.endswith(".") and shared.startswith(key)]
    start = max(map(len, own), default=0)
    found = f".{shared[start:]}".find(f".{part.keep}")
    if found < 0:
        raise LayoutError(
            f"the files of {part.name} are to keep {part.keep!r}, which its keys do not share",
            seen=[f"all of them begin with {shared!r}" if shared else "they begin differently"],
            remedy="correct or leave out keep in the layout",
        )
    return shared[: start + found]


def file_stem(match: LayoutMatch, component: str) -> str:
    """Return the stem of a component's weight file: the origin's where it has one."""
    part = next(part for part in match.layout.components if part.name == component)
    return part.file or part.name


def groups(tensors: Mapping[str, LazyTensor]) -> Iterator[tuple[str, list[str]]]:
    """Group names that show the same elements: the first name, then its aliases."""
    by_identity: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        by_identity.setdefault(tensor.identity if tensor.nbytes else name, []).append(name)
    for names in by_identity.values():
        yield names[0], names[1:]


def supported(tensors: Mapping[str, LazyTensor]) -> None:
    """Refuse tensors whose bytes cannot be taken as they lie.

    Raises:
        SourceError: Some are sparse, quantized, nested, on the meta device or of a subclass.
    """
    odd = [
        f"{name}: {tensor.unsupported}" for name, tensor in tensors.items() if tensor.unsupported
    ]
    if odd:
        raise SourceError(
            f"{counted(len(odd), 'tensor')} of a kind that is not supported: {few(odd)}",
            seen=odd,
            remedy="take the other components with --component, or save these tensors dense",
        )


def bounded(tensors: Mapping[str, LazyTensor]) -> None:
    """Refuse views that repeat so few stored bytes so often that nobody can mean to write them.

    Raises:
        SourceError: Written out, they have more than 256 MiB and 16 times what is stored.
    """
    read = {name: tensor for name, tensor in tensors.items() if not tensor.unsupported}
    leaves = (leaf for tensor in read.values() for leaf in tensor.storage.leaves)
    extents = {(id(leaf.source), leaf.position): leaf.nbytes for leaf in leaves}
    views = {tensor.identity: (tensor.nbytes, name) for name, tensor in read.items()}
    stored, written = sum(extents.values()), sum(nbytes for nbytes, _ in views.values())
    if written > _SMALL + _REPEATED * stored:
        nbytes, name = max(views.values())
        raise SourceError(
            f"{Path(read[name].storage.name).name}: {stored:,} bytes would be written as "
            f"{written:,}, since views repeat them: {name} alone has {nbytes:,}",
            remedy="save it unexpanded, or as a clone if every element is meant",
            kind="unsafe",
        )
