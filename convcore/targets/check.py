"""A comparison that was made: its kind, and figures that look the same in every one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import attrs

from convcore.noun import Noun


class CheckKind(StrEnum):
    """What a check compared; programs go by it, people by the sentence beside it.

    ``verify`` gives a check that it could not make the kind it would have had, and a ``reason``.
    """

    BYTES = "bytes"
    """The bytes of a written file with those of the source."""
    LIBRARY = "library"
    """What the format's own library reads with the source."""
    PARITY = "parity"
    """What a graph computes with what its network computes."""
    OTHER = "other"
    """What only its target knows."""
    LISTING = "listing"
    """The files that lie in a folder with those its manifest lists."""
    DIGEST = "digest"
    """The SHA-256 of a file with the one recorded."""
    ACCOUNTS = "accounts"
    """The parts of a manifest with one another."""
    TENSORS = "tensors"
    """The tensors of a file with ledger and fingerprints."""
    GRAPH = "graph"
    """The numbers inside a graph with those of the weight files."""
    COMPONENTS = "components"
    """Components and sizes with what the weights show."""
    SETTINGS = "settings"
    """Settings with what the layout settles again."""
    DOCUMENT = "document"
    """A document or script with what it is made of."""
    PLANS = "plans"
    """Files and keys with what their targets would plan again."""


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: Any) -> bool:
    # JSON has no infinity: a number that is none is null.
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def _counts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_count, value.values()))


def _object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _inputs(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(each, Mapping)
        and each.keys() == {"kind", "sizes"}
        and _text(each["kind"])
        and _counts(each["sizes"])
        for each in value
    )


# Name to what its value may be.
FIGURES: Mapping[str, Callable[[Any], bool]] = {
    # how much was compared
    "tensors": _count, "bytes": _count, "fresh": _count, "runs": _count, "rows": _count,
    "files": _count,
    # by how much it differs, of how much that is allowed
    "max_abs": _number, "mean_abs": _number, "max_rel": _number, "cosine": _number,
    "snr_db": _number, "largest": _number, "tolerance": _number, "smallest_tolerance": _number,
    "nan": _count, "inf": _count, "differing": _texts, "worst_channel": _object,
    "expected": _text, "found": _text,
    # with what, and how
    "inputs": _inputs, "reference": _texts, "float64": _truth, "atol": _number, "rtol": _number,
    "recorded": _text,
    # what it shows
    "proved": _truth, "unproved": _texts, "constant_channels": _counts, "problems": _texts,
    "reason": _text,
}  # fmt: skip


# What every check has beside its figures, in a manifest and in --json.
_OF_EVERY_CHECK = ("file", "check", "kind", "passed")


def _figures(check: Check, field: attrs.Attribute[Any], figures: Mapping[str, Any]) -> None:
    for name, value in figures.items():
        if name in _OF_EVERY_CHECK:
            raise ValueError(f"no figure can be named {name!r}: that is said of the check itself")
        if name in FIGURES and not FIGURES[name](value):
            raise ValueError(f"the figure {name!r} is {value!r:.60}, which is never so")


@attrs.frozen(eq=False, repr=False)
class Check(Noun):
    """One comparison that was made: of which file, by which means, with which figures.

    Attributes:
        file: Name of the file in the output folder.
        check: What was compared, as a sentence or a word.
        passed: Whether it is as it should be; also true of what could not be compared, which says
            why in the figure ``reason``.
        figures: What was measured. One of ``FIGURES`` means and looks the same in every check; a
            target may add others, named as it likes.
        kind: What was compared, for programs.
    """

    file: str
    check: str
    passed: bool
    figures: Mapping[str, Any] = attrs.field(factory=dict, validator=_figures)
    kind: CheckKind = CheckKind.OTHER

    @property
    def skipped(self) -> str | None:
        """Why it could not be made; None where it was."""
        reason: str | None = self.figures.get("reason")
        return reason


def not_made(file: str, check: str, kind: CheckKind, reason: str) -> Check:
    """Name a comparison that could not be made, and say why."""
    return Check(file, f"{check} not checked", True, {"reason": reason}, kind)
