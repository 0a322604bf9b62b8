"""Which files of a folder form a model, and which model of several is meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from convcore import LayoutError, UsageError
from convcore_etm.tensors import MATRICES, SHAPES

WHOLE = "model"
_FILE = re.compile(r"(.*?)(color_encoder|text_encoder|decoder|model)\.(?:pth|safetensors)")
_EPOCH = re.compile(r"epoch_([0-9]{1,18})_")
# Prefixes in the order in which they are preferred; a number of epochs comes after the second.
_ORDER = ("best_", "final_", "epoch_N_", "", "moetm_")


class FileSet(NamedTuple):
    """Files of one folder that share a prefix: the three parts, or the one whole model.

    Attributes:
        prefix: ``best_``, ``final_``, ``epoch_4_``, ``moetm_``, any other, or ''.
        files: ``model``, or some of ``color_encoder``, ``text_encoder`` and ``decoder``, to files.
    """

    prefix: str
    files: Mapping[str, Path]

    @property
    def whole(self) -> bool:
        """Whether it is one flat file."""
        return WHOLE in self.files

    @property
    def missing(self) -> list[str]:
        """Parts without a file; none for a whole model."""
        return [part for part in SHAPES if part not in self.files and not self.whole]

    @property
    def names(self) -> str:
        """The files, for a sentence."""
        return ", ".join(path.name for path in self.files.values())

    @property
    def rank(self) -> tuple[int, int]:
        """Order of preference, smallest first: best, final, the highest epoch, then the rest."""
        epoch = _EPOCH.fullmatch(self.prefix)
        if epoch:
            return 2, -int(epoch[1])
        return (_ORDER.index(self.prefix) if self.prefix in _ORDER else len(_ORDER)), 0


def name_parts(path: Path) -> tuple[str, str] | None:
    """Split ``best_decoder.pth`` into prefix and part; None for any other name."""
    found = _FILE.fullmatch(path.name)
    return (found[1], found[2]) if found else None


def find_sets(folder: Path) -> list[FileSet]:
    """Return the sets of files in a folder, the preferred first; separate files before flat."""
    sets: dict[tuple[str, bool], dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        parts = name_parts(path)
        if parts is not None and path.is_file():
            prefix, part = parts
            sets.setdefault((prefix, part == WHOLE), {}).setdefault(part, path)
    found = [FileSet(prefix, files) for (prefix, _), files in sets.items()]
    return sorted(found, key=lambda each: (each.rank, each.prefix, each.whole))


def with_prefix(sets: list[FileSet], wanted: str | None) -> list[FileSet]:
    """Return the sets that ``--config prefix=…`` leaves; all without it.

    Raises:
        UsageError: No set has this prefix.
    """
    if wanted is None or not sets:
        return sets
    chosen = [each for each in sets if each.prefix.rstrip("_") == wanted.rstrip("_")]
    if not chosen:
        known = ", ".join(dict.fromkeys(repr(each.prefix) for each in sets))
        raise UsageError(
            f"no file of the folder has the prefix {wanted!r}",
            seen=[f"prefixes there: {known}"],
            remedy="name one of them with --config prefix=…",
        )
    return chosen


def strays_last(sets: list[FileSet]) -> list[FileSet]:
    """Put one file of three, which no other of its prefix joins, behind the sets of all three."""
    whole = {each.prefix for each in sets if not each.missing}
    stray = [each for each in sets if len(each.missing) == 2 and each.prefix not in whole]
    return [each for each in sets if each not in stray] + stray


def refuse_tie(chosen: FileSet, sets: list[FileSet]) -> None:
    """Refuse to choose among prefixes that no convention puts in order.

    Raises:
        LayoutError: There are several.
    """
    tied = list(dict.fromkeys(each.prefix for each in sets if each.rank == chosen.rank))
    if len(tied) > 1:
        raise LayoutError(
            f"the folder holds {len(tied)} models and nothing says which is meant: "
            f"{', '.join(tied)}",
            seen=[f"{each.prefix}: {each.names}" for each in sets],
            remedy=f"choose one, for example --config prefix={tied[0]}",
        )


def incomplete(folder: Path, each: FileSet, sets: list[FileSet]) -> LayoutError:
    """Say which of the three separate files are missing, and what else could be taken."""
    missing = ", ".join(f"{each.prefix}{part}.pth" for part in each.missing)
    seen = [f"there: {each.names}"]
    if "decoder" in each.missing and matrices(folder, each.prefix):
        seen.append("its matrices are there, but the score predictor is in the decoder's file only")
    whole = [other.prefix for other in sets if not other.missing]
    seen += [f"complete: {other.names}" for other in sets if not other.missing]
    first = next(iter(each.files.values())).name
    return LayoutError(
        f"{folder.name} lacks {missing} of the three files with the prefix {each.prefix!r}",
        seen=seen,
        remedy=(f"take the complete set with --config prefix={whole[0]}, or " if whole else "")
        + f"give one file by itself to convert that alone: {first}",
    )


def matrices(folder: Path, prefix: str) -> list[Path]:
    """Return the files that repeat the decoder's matrices, beside the weights or one folder in."""
    names = [f"{prefix}{name}.pt" for name in MATRICES] + [f"{name}.pt" for name in MATRICES]
    places = [home / name for home in (folder / "matrices", folder) for name in names]
    return [place for place in places if place.is_file()]
