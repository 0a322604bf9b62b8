"""A checkpoint in several files, named by an index beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from convcore.archive.budgets import DEFAULT_BUDGETS, Budgets
from convcore.archive.faults import Malformed, shown
from convcore.archive.json_text import parse
from convcore.archive.links import within
from convcore.archive.source_file import SourceFile
from convcore.archive.values import Archive
from convcore.errors import ConvcoreError, UsageError

# What transformers names its indexes; it reads the first where both are there.
_USUAL = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SUFFIX = ".index.json"


def is_index(path: Path) -> bool:
    """Whether a file is called as an index of shards is."""
    return path.name.endswith(_SUFFIX)


def find_index(folder: Path, budgets: Budgets = DEFAULT_BUDGETS) -> tuple[Path | None, list[str]]:
    """Find the index of a folder's shards: a ``*.index.json`` whose ``weight_map`` names some.

    Args:
        folder: Where to look; not in folders below.
        budgets: How large an index may be.

    Returns:
        The index, or None; and why other files of such a name are passed over.

    Raises:
        SourceError: There are several, and none has one of the two usual names.
    """
    usable: list[Path] = []
    said: list[str] = []
    try:
        named = sorted(entry for entry in folder.iterdir() if is_index(entry))
    except OSError as error:
        raise Malformed(f"cannot be listed: {error.strerror}", "check its permissions").at(
            folder
        ) from error
    for path in named:
        try:
            names = set(_weight_map(path, within(path, folder), budgets).values())
        except ConvcoreError as fault:
            said.append(fault.what)
            continue
        if any((folder / name).is_file() for name in names):
            usable.append(path)
        else:
            said.append(f"{path.name} is passed over: none of its {len(names)} shards is here")
    usual = [path for name in _USUAL for path in usable if path.name == name]
    chosen = next(iter(usual or usable), None)
    if chosen is not None and not usual and len(usable) > 1:
        raise Malformed(
            f"holds {len(usable)} indexes of shards",
            "name the one that is meant",
            seen=[path.name for path in usable],
        ).at(folder)
    said += [f"{path.name} is there too and not used" for path in usable if path != chosen]
    return chosen, said


def open_shards(path: Path, allow_opaque_calls: bool, budgets: Budgets) -> Archive:
    """Open a folder with an index file, or an index file, as one tree.

    Raises:
        Malformed, SourceError: The index and the shards disagree.
        UsageError: The folder holds no index.
    """
    if not path.is_dir():
        return _open_index(path, path, (), allow_opaque_calls, budgets)
    index, said = find_index(path, budgets)
    if index is None:
        raise UsageError(
            f"{path} is a folder without an index of shards (*{_SUFFIX})",
            seen=said,
            remedy="name a checkpoint file in it",
        )
    return _open_index(index, within(index, path), said, allow_opaque_calls, budgets)


def _open_index(
    path: Path, place: Path, said: Iterable[str], allow_opaque_calls: bool, budgets: Budgets
) -> Archive:
    from convcore.archive.opening import open_file

    weight_map = _weight_map(path, place, budgets)
    names = list(dict.fromkeys(weight_map.values()))
    if len(names) > budgets.shards:
        raise Malformed(f"names {len(names)} shards").at(path)
    # The identity of all of them first: a folder that changes meanwhile cannot mix two checkpoints.
    files = _shards(path, names)
    shards = {name: open_file(file, allow_opaque_calls, budgets) for name, file in files.items()}
    tree = {key: _found(shards[name], key, path) for key, name in weight_map.items()}
    told = list(said)
    for name, shard in shards.items():
        unlisted = [key for key in shard.tree if weight_map.get(key) != name]
        if unlisted:
            raise Malformed(
                f"does not list {len(unlisted)} tensors of {name}", seen=map(str, unlisted)
            ).at(path)
        told += [f"{name}: {sentence}" for sentence in shard.evidence]
    formats = {shard.format for shard in shards.values()}
    opaque: Counter[str] = Counter()
    for shard in shards.values():
        opaque.update(shard.opaque)
    kind = formats.pop() if len(formats) == 1 else "mixed"
    return Archive(path, kind, tree, opaque, evidence=tuple(told))


def _shards(index: Path, names: list[str]) -> dict[str, SourceFile]:
    files: dict[str, SourceFile] = {}
    missing = []
    for name in names:
        path = index.parent / name
        try:
            files[name] = SourceFile(path, place=within(path, index.parent))
        except UsageError:
            missing.append(name)
    if missing:
        raise Malformed(
            f"names {len(missing)} of {len(names)} shards that are not beside it: {missing[0]!r}",
            "download all shards",
            seen=missing,
        ).at(index)
    return files


def _found(shard: Archive, key: str, index: Path) -> Any:
    if not isinstance(shard.tree, dict) or key not in shard.tree:
        raise Malformed(
            f"{key!r} is not in {shard.path.name}, where the index says it lies",
            "download all shards of one revision again",
        ).at(index)
    return shard.tree[key]


def _weight_map(path: Path, place: Path, budgets: Budgets) -> dict[str, str]:
    file = SourceFile(path, place=place)
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
