"""Folders that no source has for its own: every file with a network is one, named by its stem."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs

from convcore.errors import SourceError
from convcore.formats import Archive, walk_tensors
from convcore.names import counted, few
from convcore.sources.checkpoint import read_selected
from convcore.sources.groups import scan
from convcore.sources.neighbours import is_index, shard_names
from convcore.sources.networks import is_network
from convcore.sources.refusals import refuse_member, refuse_ranks, refuse_sharded
from convcore.sources.snapshots import Shapes, snapshots
from convcore.sources.source import Checkpoint, Input
from convcore.sources.vocabulary import averaging

# Files of these names hold weights; of others, some do.
_SURE = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".th", ".pth.tar", ".pt.tar")
_PERHAPS = (".pkl", ".pickle", ".tar")
CHECKPOINTS = (*_SURE, *_PERHAPS)
_MOST_ENTRIES, _MOST_FILES, _LEVELS = 10_000, 256, 2
_ADAPTER = "adapter_model"
_OF_BIN = "pytorch_model"


@attrs.frozen(eq=False)
class _Found:
    """One checkpoint file of a folder, opened.

    Attributes:
        path: The file.
        name: Its path below the folder.
        key: What its content is called: folders and stem.
        archive: What it holds.
        shapes: Keys and shapes of its networks; empty where it has none.
    """

    path: Path
    name: str
    key: tuple[str, ...]
    archive: Archive
    shapes: Shapes


def read_folder(given: Input, *, source: str) -> Checkpoint | None:
    """Read the checkpoint files of a folder as one tree.

    Args:
        given: The folder.
        source: Name of the source.

    Returns:
        None where it holds no file that could be one.

    Raises:
        SourceError: A file is damaged; there are several snapshots of one network; or none of the
            files holds a network.
    """
    files, others = _files(given)
    if not files:
        refuse_sharded(given, others)
        return None
    said = [f"other files, not read: {few(others, 8)}"] if others else []
    found = list(_opened(given, files, said))
    found = _one_of_each(found, said)
    with_network = [each for each in found if each.shapes]
    if not with_network:
        refuse_sharded(given, others)
    refuse_ranks(given, [each.name for each in with_network])
    top = [each for each in with_network if len(each.key) == 1]
    if top and not given.only:
        below = [each.name for each in with_network if len(each.key) > 1]
        if below:
            said.append(f"in folders below, and not read: {few(below, 8)}")
        found = [each for each in found if len(each.key) == 1]
        with_network = top
    if not given.only:
        _refuse_snapshots(given, with_network)
    tree = _tree(found, with_network)
    if not tree:
        return None
    formats = dict.fromkeys(each.archive.format for each in with_network or found)
    opaque: dict[str, int] = {}
    for each in found:
        for name, count in each.archive.opaque.items():
            opaque[name] = opaque.get(name, 0) + count
    archive = Archive(given.path, ", ".join(formats), tree, opaque, {})
    checkpoint = read_selected(
        attrs.evolve(given, archive=archive), source=source, evidence=tuple(said)
    )
    passed = list(_passed_over(found, with_network, checkpoint))
    if passed:
        told = f"passed over, no network: {few(passed, 8)}"
        checkpoint = attrs.evolve(checkpoint, evidence=(*checkpoint.evidence, told))
    sidecars = _sidecars(given.path, with_network)
    return attrs.evolve(checkpoint, sidecars={**checkpoint.sidecars, **sidecars})


def _files(given: Input) -> tuple[list[Path], list[str]]:
    """List the files of a folder that may hold weights, and the names of the others."""
    files, others = [], []
    for path in _walk(given.path, _LEVELS):
        name = str(path.relative_to(given.path))
        if is_index(path):
            files.append(path)
        elif not path.name.endswith(CHECKPOINTS):
            others.append(name)
        elif not given.only or _matches(name, given.only):
            files.append(path)
    if given.only:
        files = [f for f in files if _matches(str(f.relative_to(given.path)), given.only)]
        if not files:
            raise SourceError(
                f"no checkpoint file of {given.path.name} fits --only {' '.join(given.only)}",
                seen=[f"there: {few(others, 8)}"],
                remedy="give a name, or a pattern with *",
            )
    if len(files) > _MOST_FILES:
        raise SourceError(
            f"{given.path.name} holds {len(files):,} files that may be checkpoints",
            remedy="choose some with --only PATTERN",
        )
    return files, others


def _walk(folder: Path, levels: int) -> Iterator[Path]:
    """Yield the files of a folder, then those of folders below it."""
    below = []
    with os.scandir(folder) as entries:
        listed = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in
                        _bounded(entries, folder) if not entry.name.startswith("."))  # fmt: skip
    for name, is_folder in listed:
        if is_folder:
            below.append(folder / name)
        else:
            yield folder / name
    if levels > 1:
        for each in below:
            yield from _walk(each, levels - 1)


def _bounded(entries: Iterator[os.DirEntry[str]], folder: Path) -> Iterator[os.DirEntry[str]]:
    for count, entry in enumerate(entries):
        if count >= _MOST_ENTRIES:
            raise SourceError(
                f"{folder} holds more than {_MOST_ENTRIES:,} entries",
                remedy="name a checkpoint file in it",
            )
        yield entry


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file, its stem or a folder on the way to it fits a pattern."""
    path = Path(name)
    spelt = {name, path.name, _stem(path), *path.parts, *(str(p) for p in path.parents)}
    return any(fnmatchcase(each, pattern) for each in spelt for pattern in patterns)


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".index.json")
    for suffix in CHECKPOINTS:
        name = name.removesuffix(suffix)
    return name


def _opened(given: Input, files: list[Path], said: list[str]) -> Iterator[_Found]:
    """Open every file; shards by their index, and only there."""
    shards: set[Path] = set()
    unread = []
    for path in sorted(files, key=lambda each: not is_index(each)):
        if path in shards:
            continue
        name = str(path.relative_to(given.path))
        if is_index(path):
            names = shard_names(path)
            if not names:
                continue
            shards |= {path.parent / each for each in names}
        try:
            archive = given.open(path)
        except SourceError as error:
            if path.name.endswith(_PERHAPS) and error.kind != "unsafe":
                unread.append(name)
                continue
            raise
        refuse_member(given, archive)
        stem = _stem(path)
        if stem.startswith(_OF_BIN):  # what the same library calls model, model_1 in safetensors
            stem = stem.removeprefix("pytorch_")
        key = (*path.relative_to(given.path).parent.parts, stem)
        yield _Found(path, name, key, archive, content_shapes(archive, path))
    if unread:
        said.append(f"no checkpoints, and not read: {few(unread, 8)}")


def content_shapes(archive: Archive, path: Path) -> Shapes:
    """Return keys and shapes of the networks that a file holds; none where it has no network."""
    found: dict[str, tuple[int, ...]] = {}
    groups = scan(archive.tree, file=path, training=False)
    for group in groups:
        whole = (
            len(groups) == 1 and group.path == () and group.kind != "loose" and not group.perhaps
        )
        if is_network(group) or whole:
            found |= {group.places[name]: tensor.shape for name, tensor in group.tensors.items()}
    return found


def _one_of_each(found: list[_Found], said: list[str]) -> list[_Found]:
    """Of one model in two formats, keep the safetensors one."""
    kept: dict[tuple[str, ...], _Found] = {}
    for each in sorted(found, key=lambda each: not each.path.name.endswith(".safetensors")):
        name = (*each.key[:-1], each.key[-1].removesuffix(".safetensors").removesuffix(".bin"))
        if name in kept and kept[name].shapes and each.shapes:
            said.append(f"{each.name} is there too, and not read: {kept[name].name} is")
        elif name in kept:
            kept[(*name, each.path.suffix)] = each
        else:
            kept[name] = each
    order = {id(each): index for index, each in enumerate(found)}
    return sorted(kept.values(), key=lambda each: order[id(each)])


def _refuse_snapshots(given: Input, found: list[_Found]) -> None:
    by_name: dict[str, Shapes] = {}
    for each in found:
        name = each.key[0] if len(each.key) > 1 else each.key[-1]
        if not any(map(averaging, each.key)):
            by_name[name] = {**by_name.get(name, {}), **each.shapes}
    groups = snapshots(by_name)
    if groups:
        group = groups[0]
        one = group[-1] if len(groups) == 1 else f"'*{_told_apart(group)}*'"
        several = "one network" if len(groups) == 1 else f"each of {len(groups)} networks"
        raise SourceError(
            f"{given.path.name} holds {counted(len(group), 'snapshot')} of {several}: "
            f"{few([name for each in groups for name in each], 12)}",
            seen=[f"{each.name}: {counted(len(each.shapes), 'tensor')}" for each in found][:40],
            remedy=f"choose, for example with --only {one}; --only '*' takes all as networks",
        )


def _told_apart(group: list[str]) -> str:
    """Return what of the last snapshot's name the others' have not."""
    others = {part for name in group[:-1] for part in re.split(r"[_\-. ]", name)}
    own = [part for part in re.split(r"[_\-. ]", group[-1]) if part not in others]
    return own[0] if own else group[-1]


def _passed_over(
    found: list[_Found], with_network: list[_Found], checkpoint: Checkpoint
) -> Iterator[str]:
    """Yield the files of which nothing is taken."""
    tops = {place.partition(".")[0] for place in checkpoint.left}
    for each in found:
        if each not in with_network:
            tensors = any(True for _ in walk_tensors(each.archive.tree, file=each.path))
            if not tensors or each.key[0] in tops:
                yield each.name


def _tree(found: list[_Found], with_network: list[_Found]) -> dict[str, Any]:
    """Put the files' contents under their names; a folder's one network is called after it."""
    alone: dict[tuple[str, ...], int] = {}
    for each in with_network:
        alone[each.key[:-1]] = alone.get(each.key[:-1], 0) + 1
    tree: dict[str, Any] = {}
    for each in found:
        home = each.key[:-1]
        short = bool(home) and alone.get(home) == 1 and bool(each.shapes)
        name = ".".join(home if short else each.key)
        while name in tree:
            name += "_"
        tree[name] = each.archive.tree
    return tree


def _sidecars(folder: Path, found: list[_Found]) -> Mapping[str, Path]:
    config = folder / "adapter_config.json"
    adapter = any(each.key[-1] == _ADAPTER for each in found)
    return {config.name: config} if adapter and config.is_file() else {}
