"""Two benchmarks compared: what got faster or slower beyond the noise."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Literal

import attrs

from convcore.bench.doubts import doubts
from convcore.bench.machine import differences
from convcore.bench.record import Benchmark, Key, Row
from convcore.bench.significance import holm, mann_whitney, ratio_interval
from convcore.bench.statistics import block_medians

Verdict = Literal["faster", "slower", "same", "unsure", "missing", "new", "failed", "fixed"]

ONE_ROUND = "one round: the noise between processes is unknown"

ALPHA = 0.01
"""Chance of calling a difference where there is none, over all rows together."""

FLOOR = 0.05
"""Relative change that is never believed: two runs of the same thing differ by as much."""


@attrs.frozen
class Shift:
    """How the median of a contender moved.

    Attributes:
        before_ms: Median before.
        after_ms: Median after.
        change: Relative change; 0.1 is ten percent slower.
        low: Lower end of its 99 % interval.
        high: Upper end.
        p_value: Of the test, corrected for the number of rows tested.
        noise: Relative change that counts as noise here; None where there was one round only.
    """

    before_ms: float
    after_ms: float
    change: float
    low: float
    high: float
    p_value: float
    noise: float | None

    @property
    def verdict(self) -> Verdict:
        """Slower or faster where test, interval and size of the change agree, else the same."""
        if self.noise is None:
            return "unsure"
        if self.p_value < ALPHA and self.low > 0 and self.change > self.noise:
            return "slower"
        # 1/1.05 is as much faster as 1.05 is slower.
        if self.p_value < ALPHA and self.high < 0 and self.change < 1 / (1 + self.noise) - 1:
            return "faster"
        return "same"


@attrs.frozen
class Change:
    """What became of one contender.

    Attributes:
        row: The later row where there is one.
        verdict: ``unsure`` where either row is in doubt.
        shift: Where both benchmarks could time it.
        doubts: Why it is unsure.
    """

    row: Row
    verdict: Verdict
    shift: Shift | None = None
    doubts: tuple[str, ...] = ()


@attrs.frozen
class Comparison:
    """All changes, and what keeps the benchmarks from being comparable."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    def regressions(self, percent: float) -> tuple[Change, ...]:
        """Changes for the worse: slower beyond the noise by more than ``percent``, or failed."""
        return tuple(
            change
            for change in self.changes
            if change.verdict == "failed"
            or (
                change.verdict == "slower"
                and change.shift is not None
                and change.shift.change * 100 > percent
            )
        )


def compare(before: Benchmark, after: Benchmark) -> Comparison:
    """Compare every contender that either benchmark has.

    A change counts when three things agree: the Mann-Whitney test on the block medians (corrected
    for the number of rows), a bootstrap interval of the ratio of medians that excludes 1, and a
    size above the noise: the spread between the rounds of one benchmark, at least ``FLOOR``. A row
    that is in doubt by ``convcore.bench.doubts``, and one of a single round, gets no verdict.
    """
    old: Mapping[Key, Row] = {row.key: row for row in before.rows}
    new: Mapping[Key, Row] = {row.key: row for row in after.rows}
    keys = dict.fromkeys((*old, *new))
    shifts = {
        key: shift_of(old[key], new[key])
        for key in keys
        if all(key in rows and rows[key].status == "ok" for rows in (old, new))
    }
    corrected = holm([shift.p_value for shift in shifts.values()])
    shifts = {
        key: attrs.evolve(shift, p_value=p_value)
        for (key, shift), p_value in zip(shifts.items(), corrected, strict=True)
    }
    changes = tuple(_change(old.get(key), new.get(key), shifts.get(key)) for key in keys)
    return Comparison(changes, tuple(_notes(before, after)))


def shift_of(old: Row, new: Row) -> Shift:
    """Compare two rows that were timed; the p-value is not corrected yet."""
    one, other = (
        [middle for run in row.runs for middle in block_medians(run.samples_ns)]
        for row in (old, new)
    )
    before, after = (
        statistics.median(value for run in row.runs for value in run.samples_ns)
        for row in (old, new)
    )
    low, high = ratio_interval(one, other)
    before_noise, after_noise = noise_of(old), noise_of(new)
    return Shift(
        before / 1e6,
        after / 1e6,
        after / before - 1,
        low - 1,
        high - 1,
        mann_whitney(one, other),
        None if before_noise is None or after_noise is None else max(before_noise, after_noise),
    )


def noise_of(row: Row) -> float | None:
    """Relative change that says nothing about this row: how far its rounds lie apart.

    None for a single round: nothing shows how processes differ.
    """
    medians = [statistics.median(run.samples_ns) for run in row.runs if run.samples_ns]
    if len(medians) < 2:
        return None
    return max(FLOOR, max(medians) / min(medians) - 1)


def _change(old: Row | None, new: Row | None, shift: Shift | None) -> Change:
    if new is None:
        assert old is not None  # the key comes from one of them
        return Change(old, "missing")
    if old is None:
        return Change(new, "new")
    if shift is not None:
        found = [ONE_ROUND] if shift.noise is None else []
        found += [f"before, {doubt}" for doubt in doubts(old.runs)]
        found += [f"after, {doubt}" for doubt in doubts(new.runs)]
        return Change(new, "unsure" if found else shift.verdict, shift, tuple(found))
    if old.status == new.status:
        return Change(new, "same")
    return Change(new, "fixed" if new.status == "ok" else "failed")


def _notes(before: Benchmark, after: Benchmark) -> Iterator[str]:
    for fact in differences(before.machine, after.machine):
        yield f"different machines, {fact}"
    for name in sorted({*before.versions, *after.versions}):
        one, other = before.versions.get(name), after.versions.get(name)
        if one != other:
            yield f"different versions of {name}: {one} and {other}"
    if before.method != after.method:
        yield "different methods: the rules of measurement are not the same"
    if before.subject != after.subject:
        yield f"different subjects: {dict(before.subject)} and {dict(after.subject)}"
    for which, benchmark in (("first", before), ("second", after)):
        if not benchmark.complete:
            yield f"the {which} benchmark was interrupted: rows are missing"
