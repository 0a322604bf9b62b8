"""The error for checks that failed: which, by how much, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from convcore.errors import VerificationError
from convcore.layouts.layout import LayoutMatch
from convcore.targets.check import Check
from convcore.targets.target import Choice


def refuse_failed(checks: Sequence[Check], match: LayoutMatch, choice: Choice) -> None:
    """Let nothing be published that was compared and found different.

    Raises:
        VerificationError: A check failed; every one that did is named with its figures, and where
            numbers came out that are none, so are the weights that hold such.
    """
    failed = [check for check in checks if not check.passed]
    if not failed:
        return
    seen = [f"{c.file}: {c.check}: {told(c.figures)}" for c in failed]
    remedy = "compare the figures, or raise --atol if they are noise"
    if any(check.figures.get("nan") or check.figures.get("inf") for check in failed):
        broken = list(_not_finite(match, choice))
        seen += [f"{name} of {match.checkpoint.path.name} holds NaN or infinity" for name in broken]
        if broken:
            remedy = "mend these weights, write them as they are with --to pth, or let outputs be "
            remedy += "NaN with --allow-nan"
    raise VerificationError(
        f"{len(failed)} of {len(checks)} checks failed: {failed[0].file} ({failed[0].check})",
        seen=seen,
        remedy=f"nothing was written; {remedy}",
    )


def told(figures: Any) -> str:
    """Put the figures of a check into words."""
    return "; ".join(
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in figures.items()
        if value is not None and name not in ("inputs", "worst_channel")  # the problems say which
    )


def _not_finite(match: LayoutMatch, choice: Choice) -> Iterator[str]:
    for part in choice.components:
        for name, tensor in match.states.get(part, {}).items():
            if name not in match.dropped and not tensor.load().isfinite().all():
                yield name
