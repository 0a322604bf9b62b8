"""Rows as people read them: the same columns in the terminal, in markdown and in HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from convcore.bench.record import Row
from convcore.bench.statistics import Summary

Cell = str | int | float | None


@attrs.frozen
class Column:
    """One column: its heading and what a row shows in it."""

    heading: str
    value: Callable[[Row], Cell] = attrs.field(eq=False, repr=False)


def columns_for(rows: Iterable[Row]) -> tuple[Column, ...]:
    """The columns for rows of one or more graphs: the dynamic axes that occur, then the figures."""
    axes = dict.fromkeys(axis for row in rows for axis in row.sizes)
    return (
        Column("backend", lambda row: row.backend),
        Column("device", device),
        *map(_axis, axes),
        _measured("p50 ms", lambda summary: summary.p50_ms),
        _measured("p90", lambda summary: summary.p90_ms),
        _measured("p95", lambda summary: summary.p95_ms),
        _measured("p99", lambda summary: summary.p99_ms),
        _measured("mean", lambda summary: summary.mean_ms),
        _measured("cv %", lambda summary: summary.cv * 100),
        _measured("items/s", lambda summary: summary.throughput_per_s),
        Column("load ms", lambda row: _longest([run.load_s * 1e3 for run in row.runs])),
        Column("first ms", lambda row: _longest([run.first_call_s * 1e3 for run in row.runs])),
        Column("peak MB", lambda row: _longest([(run.peak_bytes or 0) / 1e6 for run in row.runs])),
        Column("file MB", lambda row: figure(row.file_bytes / 1e6) if row.file_bytes else None),
        Column("max error", lambda row: row.parity.max_abs_error if row.parity else None),
        Column("SNR dB", _snr),
        Column("x eager", lambda row: figure(row.speedup) if row.speedup else None),
        Column("result", result),
    )


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[Cell]]]:
    """Headings and values of some rows."""
    columns = columns_for(rows)
    return (
        [column.heading for column in columns],
        [[column.value(row) for column in columns] for row in rows],
    )


def device(row: Row) -> str:
    """Device and threads, ``cpu x2``."""
    return f"{row.device} x{row.threads}" if row.device == "cpu" else row.device


def contender(row: Row) -> str:
    """One line that names a row inside its graph."""
    sizes = " ".join(f"{axis}={size}" for axis, size in row.sizes.items())
    return f"{row.backend}, {device(row)}{', ' if sizes else ''}{sizes}"


def result(row: Row) -> str:
    """``ok``, ``ok*`` with warnings, ``FAILED`` or ``skipped``."""
    if row.status == "failed":
        return "FAILED"
    return f"{row.status}*" if row.warnings else row.status


def remarks(rows: Iterable[Row]) -> list[str]:
    """Why rows failed and what to know before believing the others, one sentence each."""
    return [
        f"{contender(row)}: {'; '.join(filter(None, (row.reason, *row.warnings)))}"
        for row in rows
        if row.reason or row.warnings
    ]


def figure(value: float) -> float:
    """A number with three significant digits; whole from 100 on."""
    return round(value) if value >= 100 else float(f"{value:.3g}")


def text(cell: Cell) -> str:
    """A cell as text."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _longest(values: Sequence[float]) -> Cell:
    return figure(max(values)) if values else None


def _snr(row: Row) -> Cell:
    if row.parity is None or row.parity.snr_db is None:
        return None
    return round(row.parity.snr_db)


def _axis(name: str) -> Column:
    return Column(name, lambda row: row.sizes.get(name))


def _measured(heading: str, value: Callable[[Summary], float]) -> Column:
    return Column(heading, lambda row: figure(value(row.summary)) if row.summary else None)
