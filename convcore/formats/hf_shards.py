"""A checkpoint in several files, named by an index beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from convcore.errors import ConvcoreError, UsageError
from convcore.formats.archive import Archive
from convcore.formats.budgets import DEFAULT_BUDGETS, Budgets
from convcore.formats.format import FormatSession, told_of
from convcore.formats.json_text import parse
from convcore.formats.location import Location
from convcore.tensors.faults import Malformed, shown

# What transformers names its indexes; it reads the first where both are there.
_USUAL = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SUFFIX = ".index.json"


def is_sharded(_: bytes, location: Location) -> bool:
    """Whether a file is called as an index of shards is, or a folder holds one."""
    if location.is_folder():
        return find_index(location)[0] is not None
    return location.name.endswith(_SUFFIX)


def find_index(
    folder: Location, budgets: Budgets = DEFAULT_BUDGETS
) -> tuple[Location | None, list[str]]:
    """Find the index of a folder's shards: a ``*.index.json`` whose ``weight_map`` names some.

    Args:
        folder: Where to look; not in folders below.
        budgets: How large an index may be.

    Returns:
        The index, or None; and why other files of such a name are passed over.

    Raises:
        SourceError: There are several, and none has one of the two usual names.
    """
    usable: list[Location] = []
    said: list[str] = []
    for place in folder.list():
        if not place.name.endswith(_SUFFIX):
            continue
        try:
            names = set(_weight_map(place, budgets).values())
        except ConvcoreError as fault:
            said.append(fault.what)
            continue
        if any(folder.child(name).exists() for name in names):
            usable.append(place)
        else:
            said.append(f"{place.name} is passed over: none of its {len(names)} shards is here")
    usual = [place for name in _USUAL for place in usable if place.name == name]
    chosen = next(iter(usual or usable), None)
    if chosen is not None and not usual and len(usable) > 1:
        raise Malformed(
            f"holds {len(usable)} indexes of shards",
            "name the one that is meant",
            seen=[place.name for place in usable],
        ).at(folder)
    said += [f"{place.name} is there too and not used" for place in usable if place != chosen]
    return chosen, said


def open_shards(location: Location, session: FormatSession) -> Archive:
    """Open a folder with an index file, or an index file, as one tree.

    Raises:
        SourceError: The index and the shards disagree.
    """
    with told_of(location):
        if not location.is_folder():
            return _open_index(location, (), session)
        index, said = find_index(location, session.budgets)
        if index is None:  # it was there when the format was asked
            raise Malformed("holds no index of shards any more")
        return _open_index(index, said, session)


def _open_index(index: Location, said: Iterable[str], session: FormatSession) -> Archive:
    weight_map = _weight_map(index, session.budgets)
    names = list(dict.fromkeys(weight_map.values()))
    if len(names) > session.budgets.shards:
        raise Malformed(f"names {len(names)} shards").at(index)
    # The identity of all of them first: a folder that changes meanwhile cannot mix two checkpoints.
    files = _shards(index, names)
    shards = {name: session.open(place) for name, place in files.items()}
    tree = {key: _found(shards[name], key, index) for key, name in weight_map.items()}
    told = list(said)
    for name, shard in shards.items():
        unlisted = [key for key in shard.tree if weight_map.get(key) != name]
        if unlisted:
            raise Malformed(
                f"does not list {len(unlisted)} tensors of {name}", seen=map(str, unlisted)
            ).at(index)
        told += [f"{name}: {sentence}" for sentence in shard.evidence]
    formats = {shard.format for shard in shards.values()}
    opaque: Counter[str] = Counter()
    for shard in shards.values():
        opaque.update(shard.opaque)
    kind = formats.pop() if len(formats) == 1 else "mixed"
    return Archive(Path(str(index)), kind, tree, opaque, evidence=tuple(told))


def _shards(index: Location, names: list[str]) -> dict[str, Location]:
    files: dict[str, Location] = {}
    missing = []
    folder = index.parent
    for name in names:
        place = folder.child(name)
        try:
            place.open()
        except UsageError:
            missing.append(name)
        files[name] = place
    if missing:
        raise Malformed(
            f"names {len(missing)} of {len(names)} shards that are not beside it: {missing[0]!r}",
            "download all shards",
            seen=missing,
        ).at(index)
    return files


def _found(shard: Archive, key: str, index: Location) -> Any:
    if not isinstance(shard.tree, dict) or key not in shard.tree:
        raise Malformed(
            f"{key!r} is not in {shard.path.name}, where the index says it lies",
            "download all shards of one revision again",
        ).at(index)
    return shard.tree[key]


def _weight_map(index: Location, budgets: Budgets) -> dict[str, str]:
    source = index.open()
    if source.size > budgets.json_bytes:
        raise Malformed(f"is an index of {source.size} bytes").at(index)
    try:
        content = parse(source.read(0, source.size), budgets)
    except Malformed as fault:
        raise fault.at(index) from fault
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise Malformed("has no weight_map").at(index)
    for name in weight_map.values():
        if (
            not isinstance(name, str)
            or not 0 < len(name) <= 255
            or name in (".", "..")
            or not name.isprintable()
            or any(mark in name for mark in "/\\\0")
            or name.endswith(_SUFFIX)
        ):
            raise Malformed(
                f"names the shard {shown(name)}, which is no plain file name",
                "use an index that came with its shards",
                kind="unsafe",
            ).at(index)
    return weight_map
