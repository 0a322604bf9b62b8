"""From what was selected to a checkpoint: every tensor under one name, the rest accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from convcore.errors import LayoutError, UsageError
from convcore.formats import Archive, as_mapping, as_plain, walk_tensors
from convcore.names import counted, few
from convcore.sources import neighbours
from convcore.sources.groups import scan
from convcore.sources.names import authored, unlike, unprefixed
from convcore.sources.places import no_state_dict, resolve
from convcore.sources.refusals import no_network, refuse_parts, refuse_piece
from convcore.sources.selection import (
    STATISTICS,
    Selection,
    network_components,
    select,
)
from convcore.sources.source import Checkpoint, Input
from convcore.sources.vocabulary import (
    ALONE,
    ASIDE,
    hyper_parameters,
    perhaps_training,
    training_by_name,
)
from convcore.tensors import LazyTensor

# What is left for these reasons is named in the evidence; the rest is told by its own sentence.
_NAMED = (ASIDE, ALONE, "replay buffer", "sample data")
_ATTRIBUTES = ("attribute of", "plain attribute of")


def read_selected(given: Input, *, source: str, evidence: tuple[str, ...] = ()) -> Checkpoint:
    """Read a file's networks and statistics, or what ``--key`` names.

    Args:
        given: The input, its archive opened.
        source: Name of the source.
        evidence: What is known already.

    Raises:
        SourceError: It holds no network, or not a whole one.
        UsageError: There is nothing at ``--key``.
        LayoutError: ``--weights`` asks for a set that is not there.
    """
    assert given.archive is not None  # folders have no tree of their own
    refuse_piece(given, given.archive)
    tree: Any = given.archive.tree
    path: tuple[str, ...] = ()
    part = tree
    named = _named_set(given, tree)
    if named is not None:
        selection = select(tree, file=given.path, weights=named)
        told = (*evidence, f"the set of weights {given.key}")
        return _checkpoint(given, tree, (), selection, source, told)
    if given.key is not None:
        path, part = resolve(given, tree, given.key)
        if isinstance(part, LazyTensor):
            raise no_state_dict(given, given.key, part)
    selection = select(part, file=given.path, path=path, weights=given.weights)
    if not selection.networks:
        if given.key is not None:
            raise no_state_dict(given, given.key, part)
        raise no_network(given, tree, selection)
    refuse_parts(given, tree, selection)
    said = [*_where(given, part, selection), *neighbours.told(given.path)]
    return _checkpoint(given, tree, path, selection, source, (*evidence, *said))


def _named_set(given: Input, tree: Any) -> str | None:
    """Return which weights ``--key`` means where it names a set inside one flat state dict."""
    if given.key is None:
        return None
    try:
        resolve(given, tree, given.key)
    except UsageError:
        sets = select(tree, file=given.path).sets
        kinds = [each.kind for each in sets if each.path == given.key]
        return kinds[0] if kinds and kinds[0] in ("raw", "averaged") else None
    return None


def _where(given: Input, tree: Any, selection: Selection) -> list[str]:
    """Say where the networks lie."""
    networks = selection.networks
    if given.key is not None:
        return [f"state dict at --key {given.key}"]
    if len(networks) > 1:
        names = network_components(networks)
        told = [
            f"{name} ({counted(len(network.tensors), 'tensor')}, {network.nbytes:,} bytes)"
            for name, network in zip(names, networks, strict=True)
        ]
        return [f"{len(networks)} networks: {few(told, 12)}"]
    (network,) = networks
    if isinstance(tree, LazyTensor):
        return ["one bare tensor"]
    if network.path:
        what = "a whole pickled module" if network.module else "state dict"
        return [f"{what} under {network.place!r}"]
    if network.module:
        return ["a whole pickled module, its tensors taken without its class"]
    if isinstance(tree, list | tuple):
        return [f"{len(network.tensors)} tensors among the {len(tree)} items of a list"]
    return ["bare state dict"]


def _checkpoint(
    given: Input,
    tree: Any,
    path: tuple[str, ...],
    selection: Selection,
    source: str,
    evidence: tuple[str, ...],
) -> Checkpoint:
    assert given.archive is not None
    tensors: dict[str, LazyTensor] = {}
    renamed: dict[str, str] = {}
    parts: dict[str, tuple[str, ...]] = {}
    several = len(selection.networks) > 1
    names = network_components(selection.networks)
    for component, network in zip(names, selection.networks, strict=True):
        prefix = f"{component}." if several else ""
        originals = network.places if several or network.averaged else network.keys
        for name, tensor in network.tensors.items():
            named = prefix + (name or "tensor")
            tensors[named] = tensor
            if originals[name] != named and name:
                renamed[named] = originals[name]
        parts[component] = tuple(prefix + (name or "tensor") for name in network.tensors)
    beside = []
    for name, (place, tensor) in selection.statistics.items():
        named = f"{STATISTICS}.{name}" if name in tensors else name
        tensors[named] = tensor
        beside.append(named)
        if place != named:
            renamed[named] = place
    if beside:
        parts[STATISTICS] = tuple(beside)
    left, rest = dict(selection.left), dict(selection.rest)
    if path:
        _put_aside(tree, path, given, left, rest)
    taken = {renamed.get(name, name) for name in tensors}
    # One network alone has the names of its own state dict, which may be spelt as a place outside.
    names_left = {
        place: unlike(place, taken | left.keys()) if place in taken else place for place in left
    }
    left = {names_left[place]: why for place, why in left.items()}
    rest = {names_left[place]: tensor for place, tensor in rest.items()}
    entries = as_mapping(tree) or {}
    return Checkpoint(
        given.path,
        source,
        given.archive.format,
        tensors,
        rest=rest,
        hyper_parameters=hyper_parameters(entries),
        metadata={**given.archive.metadata, **_metadata(entries)},
        evidence=(
            *evidence,
            *selection.evidence,
            *not_taken(left, rest),
            *_no_aliases(given.archive),
        ),
        opaque=given.archive.opaque,
        renamed=renamed,
        networks=parts,
        left=left,
        weight_sets=selection.sets,
        undecided=selection.undecided,
    )


def _put_aside(
    tree: Any,
    path: tuple[str, ...],
    given: Input,
    left: dict[str, str],
    rest: dict[str, LazyTensor],
) -> None:
    """Add what lies outside of ``--key`` to what is left."""
    for group in scan(tree, file=given.path):
        if group.path[: len(path)] == path:
            continue
        why = group.training or group.perhaps or ASIDE
        for name, tensor in group.tensors.items():
            left[group.places[name]] = why
            rest[group.places[name]] = tensor


def _metadata(entries: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(key): as_plain(value)
        for key, value in entries.items()
        if isinstance(value, str | int | float | bool) and len(str(value)[:300]) < 300
    }


def not_taken(left: Mapping[str, str], rest: Mapping[str, LazyTensor]) -> list[str]:
    """Say which tensors are not taken, those of the training and of averages aside."""
    counts: dict[str, int] = {}
    for place in rest:
        if left.get(place, "") in _NAMED or left.get(place, "").startswith(_ATTRIBUTES):
            top = place.partition(".")[0]
            counts[top] = counts.get(top, 0) + 1
    return _told(counts)


def _told(counts: Mapping[str, int]) -> list[str]:
    told = [f"{top} ({counted(count, 'tensor')})" for top, count in counts.items() if count]
    return [f"beside the state dict, and not taken: {few(told)}"] if told else []


def _no_aliases(archive: Archive) -> list[str]:
    """Say which names of a format's own metadata point at a tensor and are no other name of it."""
    there, told = archive.tree, archive.metadata
    if archive.format != "safetensors":
        return []
    notes = [f"{name} = {to}" for name, to in told.items() if to in there and name not in there]
    return [f"metadata that names a tensor, taken as text: {few(notes)}"] if notes else []


def make_checkpoint(
    given: Input,
    tensors: Mapping[str, LazyTensor],
    *,
    source: str,
    beside: Mapping[str, Any] | None = None,
    evidence: tuple[str, ...] = (),
) -> Checkpoint:
    """Build the checkpoint of one file: prefixes stripped, hyper-parameters and metadata found.

    Args:
        given: The input, its archive opened.
        tensors: The state dict as it lies in the file.
        source: Name of the source.
        beside: The file's other entries.
        evidence: What is known already.
    """
    assert given.archive is not None  # only a file has one state dict
    short, said = unprefixed(tensors)
    beside = beside or {}
    return Checkpoint(
        given.path,
        source,
        given.archive.format,
        {short[key]: tensor for key, tensor in tensors.items()},
        rest=beside,
        hyper_parameters=hyper_parameters(beside),
        metadata={**given.archive.metadata, **_metadata(beside)},
        evidence=(*evidence, *said, *_left(beside), *_no_aliases(given.archive)),
        opaque=given.archive.opaque,
        renamed={name: key for key, name in short.items() if key != name},
    )


def _left(beside: Mapping[Any, Any]) -> list[str]:
    """Say which tensors beside the state dict are not taken, those of the training aside."""
    return _told(
        {
            str(key): sum(1 for _ in walk_tensors(value))
            for key, value in beside.items()
            if not (training_by_name(str(key)) or perhaps_training(str(key)))
        }
    )


def with_attributes(checkpoint: Checkpoint) -> Checkpoint | None:
    """Put ``model.`` back where it was taken off one of several networks.

    A network's own class may have an attribute of that name; only a layout can tell.

    Returns:
        None where there is no such network.
    """
    if len(checkpoint.networks) < 2:
        return None
    names: dict[str, str] = {}
    for component, keys in checkpoint.networks.items():
        prefix = f"{component}."
        for name in keys:
            short = name.removeprefix(prefix)
            names[name] = name
            if short != name:
                full = authored(short, checkpoint.original(name).rpartition(prefix)[2])
                names[name] = prefix + full
    if all(old == new for old, new in names.items()):
        return None
    tensors = {names[name]: tensor for name, tensor in checkpoint.tensors.items()}
    originals = {names[name]: checkpoint.original(name) for name in checkpoint.tensors}
    return attrs.evolve(
        checkpoint,
        tensors=tensors,
        renamed={name: key for name, key in originals.items() if name != key},
        networks={c: tuple(names[n] for n in keys) for c, keys in checkpoint.networks.items()},
        evidence=tuple(line for line in checkpoint.evidence if "'model.'" not in line),
    )


def decide(checkpoint: Checkpoint) -> Checkpoint:
    """Refuse weights and an average of them where nobody chose; sets that are equal are one.

    Raises:
        LayoutError: Both are there, and differ.
    """
    if not checkpoint.undecided:
        return checkpoint
    from convcore.sources.distance import equal

    pairs = [each for each in checkpoint.weight_sets if each.of is not None]
    if all(equal(each.like, each.tensors) for each in pairs):
        said = f"the average {pairs[0].path} equals the trained weights byte for byte"
        return attrs.evolve(checkpoint, evidence=(*checkpoint.evidence, said), undecided=())
    raw, averaged = checkpoint.undecided[:2]
    raise LayoutError(
        f"{checkpoint.path.name} holds weights as trained ({raw}) and an average of them "
        f"({averaged})",
        seen=[f"{each.path or 'the top'}: {each.kind}" for each in checkpoint.weight_sets],
        remedy="choose with --weights raw, --weights averaged or --weights auto (the average)",
    )


__all__ = ["decide", "make_checkpoint", "read_selected", "with_attributes"]
