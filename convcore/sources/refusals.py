"""Saying what a file holds where no whole model can be taken from it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from convcore.errors import SourceError
from convcore.formats import Archive, Opaque, as_mapping
from convcore.names import counted, few
from convcore.sources.networks import Network
from convcore.sources.selection import Selection, select
from convcore.sources.source import Input
from convcore.sources.vocabulary import OBJECT
from convcore.tensors import LazyTensor

# What is left in these words may be larger than the model: training state, and what was chosen.
_ARTICLES = {
    "optimizer state": "an optimizer state", "scheduler state": "a scheduler state",
    "random number state": "random number states", "a figure of training": "figures of training",
    "hyper-parameter, not part of the model": "hyper-parameters (arguments of a constructor)",
}  # fmt: skip
_RANK = re.compile(r"(?<![A-Za-z])rank[_-]?\d+")
_SAVE = "save the weights too: torch.save(model.state_dict(), …)"


def no_network(given: Input, tree: Any, selection: Selection) -> SourceError:
    """The error for a file without any network: what it holds, in a person's words."""
    seen = [f"its top is a {top(tree)}"]
    if selection.candidates:
        places = [group.place for group in selection.candidates]
        return SourceError(
            f"{given.path.name} holds no state dict, but {counted(len(places), 'network')} "
            f"inside objects: {few(places, 8)}",
            seen=[*seen, *map(str, selection.candidates)],
            remedy=f"name one of them, for example --key {places[0]}",
        )
    sizes: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    for place, why in selection.left.items():
        if place in selection.rest:
            sizes[why] += selection.rest[place].nbytes
            names.setdefault(why, []).append(place)
    held = [_ARTICLES.get(why, why.replace(OBJECT, "attributes of a ")) for why in sizes]
    seen += [
        f"{_ARTICLES.get(why, why)}: {few(places)} ({counted(len(places), 'tensor')}, "
        f"{sizes[why]:,} bytes)"
        for why, places in names.items()
    ]
    entries = as_mapping(tree)
    if entries is not None:
        seen.append(f"top-level keys: {', '.join(map(str, list(entries)[:20])) or 'none'}")
    what = f"{', '.join(held)} and no more" if held else "no tensors at all"
    return SourceError(
        f"{given.path.name} holds no state dict: it has {what}",
        seen=seen,
        remedy=_SAVE,
    )


def top(tree: Any) -> str:
    """Name what the top of a file is: the class of an object, as the file spells it."""
    return tree.qualified_name if type(tree) is Opaque else type(tree).__name__


def refuse_parts(given: Input, tree: Any, selection: Selection) -> None:
    """Refuse what is visibly not a whole model.

    Raises:
        SourceError: Placeholders of DeepSpeed, packed weights of quantised modules, or objects
            left out that outweigh what would be taken.
    """
    _refuse_placeholders(given.path.name, tree, selection.networks)
    packed = [place for place in selection.left if "_packed_params" in place]
    taken_places = [place for network in selection.networks for place in network.places.values()]
    taken_places += [place for place, _ in selection.statistics.values()]
    packed += [place for place in taken_places if "_packed_params" in place]
    if packed:
        raise SourceError(
            f"{given.path.name} is the state dict of a model quantised by torch.ao: its weights "
            f"are packed in {packed[0]}",
            seen=[f"quantised: {few(packed)}"],
            remedy="save the model's state dict before it is quantised",
        )
    taken = sum(network.nbytes for network in selection.networks)
    objects = [p for p, why in selection.left.items() if why.startswith(OBJECT)]
    left = sum(selection.rest[place].nbytes for place in objects if place in selection.rest)
    if given.key is None and left > taken:
        largest = max(objects, key=lambda place: selection.rest[place].nbytes)
        where = largest.rpartition(".")[0] or largest
        raise SourceError(
            f"{given.path.name} holds more in objects ({left:,} bytes, such as {largest}) than in "
            f"its networks ({taken:,} bytes)",
            seen=[f"{n.place or 'the top'}: {n.nbytes:,} bytes" for n in selection.networks],
            remedy=f"say which is the model: --key {selection.networks[0].place or where}, "
            f"or --key {where}",
        )


def refuse_ranks(given: Input, names: Sequence[str]) -> None:
    """Refuse the files of several ranks: which axis a weight is cut along stands in none of them.

    Args:
        given: The folder.
        names: Its files that hold networks.

    Raises:
        SourceError: Several ranks wrote them, and nobody chose with ``--only``.
    """
    ranks = {found[0]: name for name in names if (found := _RANK.search(name))}
    if len(ranks) > 1 and not given.only:
        first = min(ranks.values())
        raise SourceError(
            f"{given.path.name} holds the parts of {len(ranks)} ranks, which are not joined here: "
            f"{few(sorted(ranks.values()), 8)}",
            remedy="join them with the training code and save one state dict; --only "
            f"{first} takes one as it is",
        )


def of_deepspeed(tree: Any) -> bool:
    """Whether a file is a model-state file of DeepSpeed."""
    return not {"ds_version", "param_shapes"}.isdisjoint(as_mapping(tree) or {})


def refuse_member(given: Input, archive: Archive) -> None:
    """Refuse a file of a folder that is no whole model by itself, as ``refuse_parts`` does.

    Raises:
        SourceError: Pieces of tensors, or placeholders of DeepSpeed.
    """
    refuse_piece(given, archive)
    if of_deepspeed(archive.tree):
        networks = select(archive.tree, file=archive.path).networks
        _refuse_placeholders(archive.path.name, archive.tree, networks)


def refuse_piece(given: Input, archive: Archive) -> None:
    """Refuse a file of safetensors whose tensors are pieces of larger ones.

    Source of the name: ``HuggingFaceStorageWriter`` of torch.distributed.checkpoint, which says in
    each file's metadata where its pieces begin, and nowhere how large the whole is.

    Raises:
        SourceError: It is one, and ``--partial`` was not given.
    """
    if "DCP_SHARDING_INFO" in archive.metadata and not given.partial:
        raise SourceError(
            f"{archive.path.name} holds pieces of tensors: torch.distributed wrote it as one of "
            "several, which are not joined here",
            seen=[f"{counted(len(archive.tree), 'piece')}: {few(list(archive.tree))}"],
            remedy="give the consolidated files, or take the pieces as they are with --partial",
        )


def refuse_sharded(given: Input, names: Sequence[str]) -> None:
    """Refuse a folder of torch.distributed.checkpoint in which nothing else is a network.

    Raises:
        SourceError: Its tensors lie in ``.distcp`` files.
    """
    pieces = [name for name in names if name.endswith(".distcp")]
    if pieces:
        raise SourceError(
            f"{given.path.name} is a sharded checkpoint of torch.distributed, which is not read: "
            f"its tensors lie in {few(pieces, 8)}",
            remedy="join them first: python -m torch.distributed.checkpoint.format_utils "
            f"dcp_to_torch {given.path} model.pt",
        )


def _refuse_placeholders(file: str, tree: Any, networks: Sequence[Network]) -> None:
    entries = as_mapping(tree) or {}
    if not of_deepspeed(tree):
        return
    shapes = _shapes(entries.get("param_shapes"))
    for network in networks:
        empty = [name for name in network.tensors if _is_placeholder(network, name, shapes)]
        # One that is known to be larger tells enough; buffers, which are whole, may be many.
        known = any(shapes.get(network.keys[name], shapes.get(name, 0)) > 1 for name in empty)
        if known or 2 * len(empty) > len(network.tensors):
            raise SourceError(
                f"{file} is a DeepSpeed model-state shard: {len(empty)} of "
                f"{counted(len(network.tensors), 'tensor')} are empty placeholders",
                seen=[f"empty: {few(empty)}", "their values lie in the *_optim_states.pt files"],
                remedy="join the shards with the zero_to_fp32.py that DeepSpeed puts beside them",
            )


def _shapes(stored: Any) -> dict[str, int]:
    """Names to the numbers of elements that ``param_shapes`` tells."""
    groups = stored if isinstance(stored, list | tuple) else [stored]
    found: dict[str, int] = {}
    for group in groups:
        for name, shape in (as_mapping(group) or {}).items():
            sizes = shape if isinstance(shape, list | tuple) else _sizes(shape)
            if all(type(size) is int for size in sizes):
                found[str(name)] = prod(sizes)
    return found


def _sizes(shape: Any) -> Sequence[Any]:
    args = shape.args if type(shape) is Opaque else ()
    return args[0] if len(args) == 1 and isinstance(args[0], list | tuple) else ()


def _is_placeholder(network: Network, name: str, shapes: Mapping[str, int]) -> bool:
    tensor: LazyTensor = network.tensors[name]
    count = prod(tensor.shape)
    real = shapes.get(network.keys[name], shapes.get(name, 0))
    return count == 0 or (count == 1 and real > 1)
