"""One benchmark from beginning to end: prepare, then every contender in its own process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from convcore import errors
from convcore.bench.job import Job
from convcore.bench.prepare import Ready
from convcore.bench.record import CUDA_PROVIDER, Benchmark, Key, Row, Status
from convcore.bench.request import Request
from convcore.bench.rows import row_of, untimed, with_speedups
from convcore.bench.sampling import Method
from convcore.bench.subject import Subject
from convcore.bench.workers import answers_of
from convcore.options import Backend
from convcore.workers.messages import as_message, from_message
from convcore.workers.process import Process

Listener = Callable[[Benchmark], None]
Progress = Callable[[str], None]

# Failing loudly beats waiting for ever; exports of large networks do take minutes.
_PREPARE_SILENCE = 3600.0


@attrs.frozen
class Plan:
    """How to time what ``prepare`` made ready.

    Attributes:
        backends: Contenders, torch eager first where it is among them.
        threads: Thread counts to try on the CPU.
        rounds: Processes per contender; their samples are pooled and their spread is known.
        method: Rules of each measurement.
        atol: Absolute parity tolerance, None for the engine's own.
    """

    backends: tuple[Backend, ...]
    threads: tuple[int, ...]
    rounds: int
    method: Method
    atol: float | None = None


def bench(
    request: Request,
    plan: Plan,
    listener: Listener = lambda benchmark: None,
    progress: Progress = lambda sentence: None,
) -> Benchmark:
    """Time everything and return the benchmark.

    Args:
        request: What to time; its ``scratch`` is replaced by a temporary folder.
        plan: How.
        listener: Called with the benchmark so far whenever a row is new, and at the end.
        progress: Called with what is going on.

    Raises:
        ConvcoreError: Nothing could be timed: the input, a name or a device is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="convcore-bench-") as scratch:
        progress("preparing inputs and reference outputs")
        ready = prepared(attrs.evolve(request, scratch=scratch))
        benchmark = Benchmark(
            ready.subject,
            plan.method,
            {"seed": request.seed, "rounds": plan.rounds},
            ready.machine,
            ready.versions,
            notes=ready.notes,
        )
        listener(benchmark)
        rows: dict[Key, Row] = {}
        for row in timed(request, plan, ready, Path(scratch), rows, progress):
            rows[row.key] = row
            benchmark = attrs.evolve(benchmark, rows=with_speedups(rows.values()))
            listener(benchmark)
    benchmark = attrs.evolve(benchmark, complete=True)
    listener(benchmark)
    return benchmark


def prepared(request: Request) -> Ready:
    """Have everything made ready in a process of its own.

    Raises:
        ConvcoreError: Whatever that process found wrong, as if it had been found here.
    """
    log = Path(request.scratch, "prepare.stderr")
    with Process("convcore.bench.prepare", log, silence=_PREPARE_SILENCE) as process:
        for answer in process.ask(as_message(request)):
            if "error" in answer:
                raise _as_error(answer["error"])
            return from_message(answer, Ready)
        raise RuntimeError(f"preparing the benchmark {process.ending()}")


def timed(
    request: Request,
    plan: Plan,
    ready: Ready,
    scratch: Path,
    rows: dict[Key, Row],
    progress: Progress,
) -> Iterator[Row]:
    """Yield a row whenever a case was timed; ``rows`` are those there are, by their key.

    The rounds go round the contenders of a graph, so that slow drift hits all of them alike.
    """
    jobs = list(jobs_of(request, plan, ready, scratch))
    for number, (subject, job) in enumerate(jobs):
        progress(f"{job.graph} · {job.backend} · {job.device} ({number + 1}/{len(jobs)})")
        obstacle = _obstacle(subject, job, ready)
        if obstacle is not None:
            yield from untimed(job, subject, *obstacle)
            continue
        Path(job.scratch).mkdir()
        for case, answer in answers_of(job):
            sized = attrs.evolve(answer, sizes=case.sizes)
            fresh = row_of(job, subject, sized)
            yield row_of(job, subject, sized, rows.get(fresh.key))
        shutil.rmtree(job.scratch, ignore_errors=True)  # a compiler's cache can be large


def jobs_of(
    request: Request, plan: Plan, ready: Ready, scratch: Path
) -> Iterator[tuple[Subject, Job]]:
    """Yield a job for each process to be started, in order."""
    number = 0
    for subject in ready.subjects:
        for _ in range(plan.rounds):
            for device in ready.devices:
                for threads in plan.threads if device == "cpu" else plan.threads[:1]:
                    for backend in plan.backends:
                        number += 1
                        yield (
                            subject,
                            Job(
                                ready.folder,
                                subject.graph,
                                backend,
                                device,
                                threads,
                                subject.cases,
                                plan.method,
                                str(scratch / f"job-{number}"),
                                subject.onnx,
                                request.layout_file,
                                request.disabled,
                                plan.atol,
                            ),
                        )


def _obstacle(subject: Subject, job: Job, ready: Ready) -> tuple[Status, str] | None:
    """Why a contender need not be started at all."""
    if subject.reason is not None:
        return "failed", subject.reason
    if job.backend != "onnxruntime" and subject.torch_reason is not None:
        return "skipped", subject.torch_reason
    if job.backend == "onnxruntime":
        if subject.onnx is None:
            return "failed" if subject.cases else "skipped", subject.onnx_reason or "no ONNX file"
        if job.device != "cpu" and CUDA_PROVIDER not in ready.providers:
            return "skipped", f"this onnxruntime has no {CUDA_PROVIDER}"
    return None


def _as_error(found: dict[str, Any]) -> errors.ConvcoreError:
    kinds: Sequence[type[errors.ConvcoreError]] = errors.ConvcoreError.__subclasses__()
    kind = next((k for k in kinds if k.exit_code == found["exit_code"]), errors.ConvcoreError)
    return kind(found["what"], seen=found["seen"], remedy=found["remedy"], kind=found["kind"])
