"""Source ``umc``: run folders as UMC's training writes them, and the names they carry."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from convcore import Archive, Checkpoint, Input, SourceError
from convcore.formats import as_mapping
from convcore.sources import beside, follow, make_checkpoint, state_dict_of
from convcore_umc.datasets import DATASETS

NAME = "umc"
FILE = "pytorch_model.bin"
# `--output_path outputs/<dataset>` puts one more folder between; deeper there are none.
_DEPTH = 3
# A folder with more than this below it is somebody's whole disk.
_MOST = 2000
_LISTED = 100_000
_MARK = "method_model."
_SEED = re.compile(r"-?[0-9]{1,20}")


def parse_run_name(name: str) -> dict[str, Any] | None:
    """Take ``{method}_{multimodal_method}_{dataset}_{text_backbone}_{seed}`` apart.

    Read from both ends, since the two names in the middle may hold underscores of their own; one
    of the known datasets is recognised wherever it stands.

    Returns:
        The parts by name, ``seed`` as an integer; None for any other name.
    """
    method, _, rest = name.partition("_")
    multimodal, _, rest = rest.partition("_")
    rest, _, seed = rest.rpartition("_")
    if not _SEED.fullmatch(seed):
        return None
    known = next((each for each in DATASETS if rest.startswith(f"{each}_")), None)
    dataset, backbone = (known, rest[len(known) + 1 :]) if known else rest.rpartition("_")[::2]
    parts = {
        "method": method,
        "multimodal_method": multimodal,
        "dataset": dataset,
        "text_backbone": backbone,
    }
    return {**parts, "seed": int(seed)} if all(parts.values()) else None


def run_folder(file: Path) -> Path | None:
    """Return the run folder around ``models/FILE`` or ``models/pretrain/FILE``, or None."""
    # A link's own place comes first: only if that is no run folder is the link followed.
    for place in (Path(os.path.abspath(file)), file.resolve()):  # noqa: PTH100  # resolve() follows
        models = place.parent.parent if place.parent.name == "pretrain" else place.parent
        if models.name == "models" and parse_run_name(models.parent.name):
            return models.parent
    return None


def checkpoint_file(folder: Path) -> Path | None:
    """Return the checkpoint of a run folder, its ``models`` or ``pretrain`` folder, or None.

    The final model comes before that of pretraining.
    """
    places = (folder / "models", folder, folder / "models" / "pretrain", folder / "pretrain")
    return next((place / FILE for place in places if (place / FILE).is_file()), None)


def find_runs(folder: Path) -> list[Path]:
    """Return the checkpoint of every run below a folder, in the order of names and seeds.

    A folder that is a run itself has none.
    """
    if checkpoint_file(folder) is not None:
        return []
    found: list[Path] = []
    level, seen = [folder], set[tuple[int, int]]()
    for _ in range(_DEPTH):
        inner = list(islice(_folders(level, seen), _LISTED))
        runs = {each: checkpoint_file(each) for each in inner}
        # Without `models` in between it would be any folder of transformers' own.
        found += [file for run, file in runs.items() if file is not None and file.parent != run]
        level = [each for each, file in runs.items() if file is None][:_MOST]
    return sorted(found, key=_natural)


def _folders(level: list[Path], seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the folders in folders; one that was seen is not entered again by another name."""
    for outer in level:
        try:
            facts = outer.stat()
            seen.add((facts.st_dev, facts.st_ino))
            entries = list(islice(outer.iterdir(), _LISTED))
        except OSError:  # a folder that may not be listed holds no run of this user's
            continue
        # What a link leads to has a name of its own, which comes first.
        for entry in sorted(entries, key=lambda path: (path.is_symlink(), path)):
            try:
                facts = entry.stat()
            except OSError:
                continue
            place = facts.st_dev, facts.st_ino
            if stat.S_ISDIR(facts.st_mode) and place not in seen and not entry.name.startswith("."):
                seen.add(place)
                yield entry


def _natural(path: Path) -> list[tuple[str, int]]:
    """Order seed 2 before seed 10."""
    pieces = re.findall(r"([0-9]{1,20})|([^0-9]+)", str(path))
    return [(text, int(number or 0)) for number, text in pieces]


def read(given: Input) -> Checkpoint | None:
    """Read a run given as its folder, its ``models`` folder or the file; or a file by its keys."""
    if given.archive is not None:
        tensors = state_dict_of(given.archive.tree)
        # With --key, or in a wrapper, it is an ordinary state dict.
        if given.key is not None or not tensors or not _ours(tensors):
            return None
        return _checkpoint(given, tensors, _loose(given.archive.tree, tensors))
    file = checkpoint_file(given.path)
    if file is None:
        _refuse_without_weights(given.path)
        return None
    archive: Archive = given.open(file)
    given = attrs.evolve(given, path=file, archive=archive)
    tensors = (
        state_dict_of(archive.tree) if given.key is None else follow(given, archive.tree, given.key)
    )
    if run_folder(file) is None and not (tensors and _ours(tensors)):
        return None
    if not tensors:
        raise SourceError(
            f"{file.name} of this run holds no flat state dict",
            seen=[f"its top is a {type(archive.tree).__name__}"],
            remedy="name the place of the weights with --key PATH",
        )
    tree = archive.tree
    rest = _loose(tree, tensors) if given.key is None else beside(tree, given.key)
    return _checkpoint(given, tensors, rest)


def _loose(tree: Any, tensors: Mapping[str, Any]) -> dict[Any, Any]:
    return {key: value for key, value in (as_mapping(tree) or {}).items() if key not in tensors}


def _ours(tensors: Mapping[str, Any]) -> bool:
    return any(key.startswith(_MARK) or f".{_MARK}" in key for key in tensors)


def _refuse_without_weights(folder: Path) -> None:
    if parse_run_name(folder.resolve().name) and (folder / "models").is_dir():
        raise SourceError(
            f"the run folder {folder.name} holds no models/{FILE}",
            seen=["UMC's training writes it only when it is told to"],
            remedy="train with --save_model, or give the file itself",
        )


def _checkpoint(given: Input, tensors: Mapping[str, Any], rest: Mapping[Any, Any]) -> Checkpoint:
    run = run_folder(given.path)
    parts = parse_run_name(run.name) if run else None
    if run is None or parts is None:
        said = "UMC's keys, but no run folder around it names method, dataset, backbone and seed"
        return make_checkpoint(given, tensors, source=NAME, beside=rest, evidence=(said,))
    stage = "pretraining" if given.path.absolute().parent.name == "pretrain" else "training"
    said = f"run folder {run.name}: " + ", ".join(f"{name} {part}" for name, part in parts.items())
    evidence = (said, f"stage: {stage}")
    checkpoint = make_checkpoint(given, tensors, source=NAME, beside=rest, evidence=evidence)
    named = {"run": run.name, **parts, "stage": stage}
    return attrs.evolve(checkpoint, metadata={**checkpoint.metadata, **named})
