"""Rows as people read them: the same columns in the terminal, in markdown and in HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from convcore.bench.record import Row, Run
from convcore.bench.statistics import Summary
from convcore.report.view import Table

Cell = str | int | float | None
Column = tuple[str, Callable[[Row], Cell]]
"""A heading, and what a row shows below it."""

# What fits into a narrow terminal, and decides.
_NARROW = (
    "backend", "device", "n", "p50 ms", "p95", "p99", "items/s", "max error", "x eager", "result",
)  # fmt: skip


def table_of(graph: str, rows: Sequence[Row], *, narrow: bool = False) -> Table:
    """The rows of one graph; device and axes that never change stand in the title."""
    shared = _shared(rows)
    axes = dict.fromkeys(axis for row in rows for axis in row.sizes if axis not in shared)
    columns: list[Column] = [
        ("backend", lambda row: row.backend),
        *([] if "device" in shared else [("device", device)]),
        *map(_axis, axes),
        ("n", lambda row: row.summary.iterations if row.summary else None),
        _measured("p50 ms", lambda summary: summary.p50_ms),
        _measured("p90", lambda summary: summary.p90_ms),
        _measured("p95", lambda summary: summary.p95_ms),
        _measured("p99", lambda summary: summary.p99_ms),
        _measured("mean", lambda summary: summary.mean_ms),
        _measured("cv %", lambda summary: None if summary.cv is None else summary.cv * 100),
        _measured("items/s", lambda summary: summary.throughput_per_s),
        _of_runs("load ms", lambda run: run.load_s * 1e3),
        _of_runs("first ms", lambda run: run.first_call_s * 1e3),
        _of_runs("peak MB", lambda run: (run.peak_bytes or 0) / 1e6),
        *([_of_runs("copy ms", lambda run: (run.copy_ns or 0) / 1e6)] if _copies(rows) else []),
        ("file MB", lambda row: figure(row.file_bytes / 1e6) if row.file_bytes else None),
        ("max error", _error),
        ("SNR dB", _snr),
        ("x eager", lambda row: figure(row.speedup) if row.speedup else None),
        ("result", result),
    ]
    chosen = [pair for pair in columns if not narrow or pair[0] in (*_NARROW, *axes)]
    return Table(
        heading(graph, rows),
        [name for name, _ in chosen],
        [[value(row) for _, value in chosen] for row in rows],
        remarks(rows),
    )


def heading(graph: str, rows: Sequence[Row]) -> str:
    """The graph's name and whatever all of its rows share: ``encoder, cpu x2, time 32``."""
    shared = _shared(rows)
    parts = [f"{name} {value}".removeprefix("device ") for name, value in shared.items()]
    return ", ".join([graph, *parts])


def device(row: Row) -> str:
    """Device and threads, ``cpu x2``."""
    return f"{row.device} x{row.threads}" if row.device == "cpu" else row.device


def contender(row: Row) -> str:
    """One line that names a row inside its graph."""
    sizes = " ".join(f"{axis}={size}" for axis, size in row.sizes.items())
    return f"{row.backend}, {device(row)}{', ' if sizes else ''}{sizes}"


def result(row: Row) -> str:
    """``ok``, ``ok*`` with warnings, ``unsure``, ``FAILED`` or ``skipped``."""
    if row.status == "failed":
        return "FAILED"
    if row.doubts:
        return "unsure"
    return f"{row.status}*" if row.warnings else row.status


def remarks(rows: Iterable[Row]) -> list[str]:
    """Why rows failed and what to know before believing the others, one sentence each."""
    return [
        f"{contender(row)}: {'; '.join(filter(None, (row.reason, *row.doubts, *row.warnings)))}"
        for row in rows
        if row.reason or row.doubts or row.warnings
    ]


def figure(value: float) -> float:
    """A number with three significant digits; a whole one from 100 on."""
    rounded = float(f"{value:.3g}")
    return int(rounded) if rounded >= 100 else rounded


def _shared(rows: Sequence[Row]) -> dict[str, str | int]:
    """Device and sizes that are the same in all rows; the batch size always has its column."""
    if not rows:
        return {}
    facts: list[dict[str, str | int]] = [{"device": device(row), **row.sizes} for row in rows]
    return {
        name: value
        for name, value in facts[0].items()
        if name != "batch" and all(each.get(name) == value for each in facts)
    }


def _copies(rows: Sequence[Row]) -> bool:
    return any(run.copy_ns is not None for row in rows for run in row.runs)


def _error(row: Row) -> Cell:
    if row.parity is None:
        return None
    return f"{row.parity.max_abs_error:.0e}" if row.parity.max_abs_error else "0"


def _snr(row: Row) -> Cell:
    if row.parity is None or row.parity.snr_db is None:
        return None
    return round(row.parity.snr_db)


def _axis(name: str) -> Column:
    return (name, lambda row: row.sizes.get(name))


def _measured(heading: str, value: Callable[[Summary], float | None]) -> Column:
    def shown(row: Row) -> Cell:
        known = value(row.summary) if row.summary else None
        return None if known is None else figure(known)

    return (heading, shown)


def _of_runs(heading: str, value: Callable[[Run], float]) -> Column:
    """The worst of a row's processes."""
    return (heading, lambda row: figure(max(map(value, row.runs))) if row.runs else None)
