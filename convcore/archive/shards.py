"""A checkpoint in several files, named by an index beside them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from convcore.archive.budgets import Budgets
from convcore.archive.faults import Malformed, shown
from convcore.archive.json_text import parse
from convcore.archive.source_file import SourceFile
from convcore.archive.values import Archive
from convcore.errors import UsageError

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def open_shards(path: Path, allow_opaque_calls: bool, budgets: Budgets) -> Archive:
    """Open a folder with an index file, or an index file, as one tree.

    Raises:
        Malformed, SourceError: The index and the shards disagree.
        UsageError: The folder holds no index.
    """
    if path.is_dir():
        found = [path / name for name in _INDEXES if (path / name).is_file()]
        if not found:
            raise UsageError(
                f"{path} is a folder without {' or '.join(_INDEXES)}",
                remedy="name a checkpoint file in it",
            )
        path = found[0]
    from convcore.archive.opening import open_file

    weight_map = _weight_map(path, budgets)
    names = list(dict.fromkeys(weight_map.values()))
    if len(names) > budgets.shards:
        raise Malformed(f"names {len(names)} shards").at(path)
    # All descriptors first: a folder that changes meanwhile cannot mix two checkpoints.
    files = {name: _shard(path, name) for name in names}
    shards = {name: open_file(file, allow_opaque_calls, budgets) for name, file in files.items()}
    tree = {key: _found(shards[name], key, path) for key, name in weight_map.items()}
    for name, shard in shards.items():
        unlisted = [key for key in shard.tree if weight_map.get(key) != name]
        if unlisted:
            raise Malformed(
                f"does not list {len(unlisted)} tensors of {name}", seen=map(str, unlisted)
            ).at(path)
    formats = {shard.format for shard in shards.values()}
    opaque: Counter[str] = Counter()
    for shard in shards.values():
        opaque.update(shard.opaque)
    return Archive(path, formats.pop() if len(formats) == 1 else "mixed", tree, opaque)


def _shard(index: Path, name: str) -> SourceFile:
    try:
        return SourceFile(index.parent / name)
    except UsageError as error:
        raise Malformed(
            f"names the shard {name!r}, which is not beside it", "download all shards"
        ).at(index) from error


def _found(shard: Archive, key: str, index: Path) -> Any:
    if not isinstance(shard.tree, dict) or key not in shard.tree:
        raise Malformed(
            f"{key!r} is not in {shard.path.name}, where the index says it lies",
            "download all shards of one revision again",
        ).at(index)
    return shard.tree[key]


def _weight_map(path: Path, budgets: Budgets) -> dict[str, str]:
    file = SourceFile(path)
    if file.size > budgets.json_bytes:
        raise Malformed(f"is an index of {file.size} bytes").at(path)
    try:
        index = parse(file.read(0, file.size), budgets)
    except Malformed as fault:
        raise fault.at(path) from fault
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise Malformed("has no weight_map").at(path)
    for name in weight_map.values():
        if (
            not isinstance(name, str)
            or not 0 < len(name) <= 255
            or name in (".", "..")
            or not name.isprintable()
            or any(mark in name for mark in "/\\\0")
        ):
            raise Malformed(
                f"names the shard {shown(name)}, which is no plain file name",
                "use an index that came with its shards",
                kind="unsafe",
            ).at(path)
    return weight_map
