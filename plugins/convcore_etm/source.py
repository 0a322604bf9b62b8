"""Source ``etm-folder``: separate files, or one flat or wrapped file, and what lies beside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import attrs

from convcore import Archive, Checkpoint, Input, LayoutError, LazyTensor, SourceError, UsageError
from convcore.formats import walk_tensors
from convcore.names import counted
from convcore.sources import beside, make_checkpoint, state_dict_of, state_dicts, unprefixed
from convcore_etm.folder import (
    WHOLE,
    FileSet,
    find_sets,
    incomplete,
    matrices,
    name_parts,
    refuse_tie,
    strays_last,
    with_prefix,
)
from convcore_etm.sidecars import find_sidecars
from convcore_etm.tensors import SHAPES, in_order, looks_like_etm, parts_of

NAME = "etm-folder"
# Only the separate files keep a mapping under one of these names.
_NESTED = ("color_encoder", "text_encoder", "score_predictor")


def read(given: Input) -> Checkpoint | None:
    """Read a folder, one of the separate files, or a model file; None for anything but ETM."""
    if given.key is not None:
        return None
    if given.archive is None:
        return _read_folder(given) if given.path.is_dir() else None
    checkpoint = _read_file(given, given.path, given.archive)
    if checkpoint is not None and "prefix" in given.config:
        raise UsageError(
            f"--config prefix chooses among the files of a folder, and {given.path.name} is a file",
            remedy="give the folder, or leave the option out",
        )
    return checkpoint


def _read_folder(given: Input) -> Checkpoint | None:
    every = find_sets(given.path)
    sets = strays_last(with_prefix(every, given.config.get("prefix")))
    lacking: tuple[str, LayoutError] | None = None
    for each in sets:
        if lacking is not None and each.prefix != lacking[0]:
            break
        archives = {part: given.open(path) for part, path in each.files.items()}
        checkpoint = _read_set(given, each, archives)
        if checkpoint is None:
            continue
        if each.missing:
            lacking = each.prefix, incomplete(given.path, each, every)
            continue
        refuse_tie(each, [other for other in sets if not other.missing])
        return _say_what_else(given, checkpoint, each, every)
    if lacking is not None:
        raise lacking[1]
    return None


def _read_set(given: Input, each: FileSet, archives: Mapping[str, Archive]) -> Checkpoint | None:
    if each.whole:
        checkpoint = _read_file(given, each.files[WHOLE], archives[WHOLE])
        return None if checkpoint is None else attrs.evolve(checkpoint, path=given.path)
    said = f"saved as separate files with the prefix {each.prefix!r}: {each.names}"
    return _join(given, given.path, each.prefix, list(archives.values()), said)


def _read_file(given: Input, path: Path, archive: Archive) -> Checkpoint | None:
    tree = archive.tree
    prefix = (name_parts(path) or ("", WHOLE))[0]
    if not isinstance(tree, Mapping):
        return None
    if any(name in tree and not isinstance(tree[name], LazyTensor) for name in _NESTED):
        said = f"one of the separate files: {path.name}"
        return _join(given, path.parent, prefix, [archive], said, path=path)
    tensors, key = state_dict_of(tree), ""
    if not tensors or not _is_etm(tensors):
        wrapped = {k: inner for k, inner in state_dicts(tree).items() if _is_etm(inner)}
        if len(wrapped) != 1:
            return None
        (key, tensors), *_ = wrapped.items()
    loose = {name: value for name, value in tree.items() if name not in tensors}
    rest = beside(tree, key) if key else loose
    method = "wrapped" if key else "flat"
    said = f"saved as one flat state dict: {path.name}"
    if key:
        said = f"saved as one wrapped state dict: {path.name}, under {key!r} beside " + (
            ", ".join(map(repr, list(rest)[:8])) or "nothing"
        )
    file = attrs.evolve(given, path=path, archive=archive)
    checkpoint = make_checkpoint(file, tensors, source=NAME, beside=rest, evidence=(said,))
    return _with_sidecars(given, checkpoint, path.parent, prefix, method)


def _is_etm(tensors: Mapping[str, LazyTensor]) -> bool:
    return looks_like_etm(unprefixed(tensors)[0].values())


def _join(
    given: Input,
    home: Path,
    prefix: str,
    archives: list[Archive],
    said: str,
    *,
    path: Path | None = None,
) -> Checkpoint | None:
    """Put the parts together under the flat state dict's names, in its order."""
    tensors: dict[str, LazyTensor] = {}
    owner: dict[str, str] = {}
    for archive in archives:
        for name, tensor in walk_tensors(archive.tree):
            if name in tensors:
                raise SourceError(
                    f"two files hold the tensor {name}: {owner[name]} and {archive.path.name}",
                    remedy="give one of the files by itself",
                )
            tensors[name], owner[name] = tensor, archive.path.name
    if not looks_like_etm(tensors):
        return None
    opaque: Counter[str] = Counter()
    for archive in archives:
        opaque.update(archive.opaque)
    checkpoint = Checkpoint(
        path or home,
        NAME,
        ", ".join(dict.fromkeys(archive.format for archive in archives)),
        {name: tensors[name] for name in in_order(tensors)},
        evidence=(said,),
        opaque=opaque,
    )
    return _with_sidecars(given, checkpoint, home, prefix, "separate")


def _with_sidecars(
    given: Input, checkpoint: Checkpoint, home: Path, prefix: str, method: str
) -> Checkpoint:
    found = find_sidecars(given, home, prefix, checkpoint.tensors)
    said = list(found.evidence)
    there = parts_of(checkpoint.tensors)
    if len(there) == 1 and given.archive is not None:
        others = [part for part in SHAPES if part not in there]
        said.append(f"{there[0]} alone: {', '.join(others)} are in other files, give their folder")
    return attrs.evolve(
        checkpoint,
        hyper_parameters={**found.hyper_parameters, **checkpoint.hyper_parameters},
        metadata={**checkpoint.metadata, "save_method": method, "prefix": prefix},
        sidecars=found.paths,
        evidence=(*checkpoint.evidence, *said),
    )


def _say_what_else(
    given: Input, checkpoint: Checkpoint, chosen: FileSet, every: list[FileSet]
) -> Checkpoint:
    said = list(checkpoint.evidence)
    others = [each.names for each in every if each != chosen]
    if others:
        said.append(f"also there and not used: {'; '.join(others)} (--config prefix=… chooses)")
    repeated = matrices(given.path, chosen.prefix)
    if repeated:
        said.append(
            f"{counted(len(repeated), 'file')} named as a matrix of the decoder, not read: "
            f"{', '.join(str(path.relative_to(given.path)) for path in repeated)}"
        )
    return attrs.evolve(checkpoint, evidence=tuple(said))
