"""``convcore bench-diff``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from convcore.cli import options
from convcore.errors import VerificationError

if TYPE_CHECKING:
    from convcore.bench.diff import Change, Comparison


@click.command("bench-diff")
@click.argument("first", metavar="A.json", type=options.PATH)
@click.argument("second", metavar="B.json", type=options.PATH)
@click.option(
    "--fail-on-regression",
    "limit",
    type=click.FloatRange(min=0),
    metavar="PERCENT",
    help="Exit 6 when a contender fails now, or is slower by more than this beyond the noise.",
)
@options.as_json
def command(first: Path, second: Path, limit: float | None, as_json: bool) -> None:
    """Say what got faster or slower beyond the noise between two saved benchmarks.

    Rows that were measured on a busy machine, in two heaps, with a wide interval, in few calls or
    in one round only are unsure: they get no verdict and never fail.
    """
    from convcore.bench.diff import compare
    from convcore.bench.saved import load
    from convcore.cli import show

    comparison = compare(load(first), load(second))
    worse = () if limit is None else comparison.regressions(limit)
    error = None
    if worse:
        error = VerificationError(
            f"{len(worse)} of {len(comparison.changes)} contenders got worse, beyond {limit:g} %",
            seen=[_sentence(change) for change in worse],
            remedy="find out what changed; the notes and warnings may name a reason",
        )
    if as_json:
        show.json_document(_document(comparison) | ({"error": error.as_dict()} if error else {}))
        click.get_current_context().exit(error.exit_code if error else 0)
    _tell(comparison)
    if error is not None:
        raise error


def _tell(comparison: Comparison) -> None:
    from convcore.cli import show

    counts = Counter(change.verdict for change in comparison.changes)
    click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "no rows")
    headings = ("graph", "contender", "before ms", "after ms", "change %", "99 % interval",
                "p", "noise %", "verdict")  # fmt: skip
    show.table("Changes", headings, [_cells(change) for change in comparison.changes])
    unsure = [
        f"{_name(change)}: {'; '.join(change.doubts)}"
        for change in comparison.changes
        if change.doubts
    ]
    show.lines("Unsure", unsure)
    show.lines("Before believing this", comparison.notes)


def _cells(change: Change) -> list[Any]:
    from convcore.bench.columns import contender, figure

    head = [change.row.graph, contender(change.row)]
    shift = change.shift
    if shift is None:
        return [*head, None, None, None, "", None, None, change.verdict]
    return [
        *head,
        figure(shift.before_ms),
        figure(shift.after_ms),
        round(shift.change * 100, 1),
        f"{shift.low:+.1%} to {shift.high:+.1%}",
        shift.p_value,
        None if shift.noise is None else round(shift.noise * 100, 1),
        change.verdict,
    ]


def _name(change: Change) -> str:
    from convcore.bench.columns import contender

    return f"{change.row.graph}, {contender(change.row)}"


def _sentence(change: Change) -> str:
    shift = change.shift
    if shift is None:
        return f"{_name(change)}: {change.row.reason}"
    return (
        f"{_name(change)}: {shift.change:+.1%}, {shift.before_ms:.3g} ms to {shift.after_ms:.3g} ms"
    )


def _document(comparison: Comparison) -> dict[str, Any]:
    from convcore.bench.diff import Shift

    return {
        "changes": [
            {
                "graph": change.row.graph,
                "backend": change.row.backend,
                "device": change.row.device,
                "threads": change.row.threads,
                "sizes": dict(change.row.sizes),
                "verdict": change.verdict,
                "doubts": list(change.doubts),
                **{name: getattr(change.shift, name, None) for name in attrs.fields_dict(Shift)},
            }
            for change in comparison.changes
        ],
        "notes": list(comparison.notes),
    }
