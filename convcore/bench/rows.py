"""From a worker's answers to a row: figures, speed-up, warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from convcore.bench.doubts import doubts
from convcore.bench.job import Answer, Job
from convcore.bench.record import CPU_PROVIDER, CUDA_PROVIDER, EAGER, Row, Run, Status
from convcore.bench.sampling import Method
from convcore.bench.statistics import Summary, summarise
from convcore.bench.subject import Subject

HIGH_VARIATION = 0.25
"""Coefficient of variation from which a row carries a warning, unless a hundredth of the calls
alone makes it so high: then the percentiles can still be believed."""


def row_of(job: Job, subject: Subject, answer: Answer, before: Row | None = None) -> Row:
    """Make the row of one case, or add another round to the row there is.

    Args:
        job: What was to be timed.
        subject: The graph and its files.
        answer: What came of it.
        before: The row of earlier rounds; a failure in any round fails the row.
    """
    if before is not None and before.status != "ok":
        return before
    status, reason = _status(job, answer)
    runs = (*(before.runs if before else ()), *([answer.run] if answer.run else []))
    row = Row(
        subject.graph,
        job.backend,
        job.device,
        job.threads,
        answer.sizes or {},
        status,
        reason,
        subject.onnx_bytes if job.backend == "onnxruntime" else subject.weight_bytes,
        answer.providers,
        answer.parity,
        runs=runs,
    )
    if status != "ok":
        return row
    summary = summarise([run.samples_ns for run in runs], row.batch)
    warnings = tuple(_warnings(runs, summary, job, row))
    return attrs.evolve(row, summary=summary, warnings=warnings, doubts=tuple(doubts(runs)))


def untimed(job: Job, subject: Subject, status: Status, reason: str) -> Iterator[Row]:
    """Rows of a contender that cannot be timed at all: one per case, or one without sizes."""
    for sizes in [case.sizes for case in subject.cases] or [{}]:
        row = row_of(job, subject, Answer(sizes, reason=reason))
        yield attrs.evolve(row, status=status)


def with_speedups(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Fill in how many times faster than torch eager each row is, by their medians.

    A ratio of which either side is in doubt would be a figure that nobody here believes.
    """
    rows = tuple(rows)
    eager = {
        row.key[0:1] + row.key[2:]: row.summary.p50_ms
        for row in rows
        if row.backend == EAGER and row.summary is not None and not row.doubts
    }
    return tuple(attrs.evolve(row, speedup=_speedup(row, eager.get(row.key[0:1] + row.key[2:])))
                 for row in rows)  # fmt: skip


def _speedup(row: Row, eager_ms: float | None) -> float | None:
    if row.summary is None or row.doubts or eager_ms is None or row.backend == EAGER:
        return None
    return eager_ms / row.summary.p50_ms


def _status(job: Job, answer: Answer) -> tuple[Status, str | None]:
    parity = answer.parity
    if answer.reason is not None:
        return "failed", answer.reason
    if parity is not None and not parity.passed:
        if parity.problem is not None:
            return "failed", f"parity: {parity.problem}"
        return "failed", (
            f"parity: differs from torch eager by {parity.max_abs_error:.2g}, "
            f"{parity.tolerance:.2g} is allowed"
        )
    wanted = _provider(job)
    if job.backend == "onnxruntime" and wanted not in answer.providers:
        return "failed", f"{wanted} ran no node, only {', '.join(answer.providers) or 'nobody'}"
    return "ok", None


def _warnings(runs: Sequence[Run], summary: Summary, job: Job, row: Row) -> Iterator[str]:
    method: Method = job.method
    if row.parity is None:
        yield "parity unknown: there are no weights here for torch eager"
    if summary.cv is not None and summary.p99_ms is not None:
        tail = summary.p99_ms / summary.p50_ms
        if summary.cv > HIGH_VARIATION and tail > 1 + HIGH_VARIATION:
            yield f"high variation: cv {summary.cv:.0%}, p99 {tail:.1f} x p50"
    if not all(run.warmup.settled for run in runs):
        yield f"warm-up cut at {method.warmup_seconds:g} s before its windows agreed"
    for name, count in row.providers.items():
        if name != _provider(job):
            yield f"{count} of {sum(row.providers.values())} nodes ran on {name}"


def _provider(job: Job) -> str:
    return CPU_PROVIDER if job.device == "cpu" else CUDA_PROVIDER
