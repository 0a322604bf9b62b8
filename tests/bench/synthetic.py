"""Clocks and benchmarks that are made up, so that no test depends on real time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from convcore.bench.record import Backend, Benchmark, Parity, Row, Run
from convcore.bench.sampling import Method, TimedCall, Warmup
from convcore.bench.statistics import summarise

MACHINE = {"processor": "Abacus 9", "architecture": "x86_64", "cores": 2,
           "system": "Linux 6", "memory_bytes": 8 << 30, "cuda": []}  # fmt: skip
MS = 1_000_000


def clock(durations_ms: Iterable[float]) -> TimedCall:
    """A call that claims to take these times, one after the other."""
    remaining: Iterator[float] = iter(durations_ms)
    return lambda: round(next(remaining) * MS)


def endless(duration_ms: Callable[[int], float]) -> Iterator[float]:
    """The duration of call 0, 1, 2 and so on."""
    index = 0
    while True:
        yield duration_ms(index)
        index += 1


def run(samples_ms: Iterable[float], **facts: object) -> Run:
    samples = tuple(round(value * MS) for value in samples_ms)
    known = {"load_s": 0.1, "import_s": 1.0, "first_call_s": 0.02, "peak_bytes": 10**8, **facts}
    return Run(samples, len(samples), settled=True, warmup=Warmup(5, 0.1, True), **known)  # type: ignore[arg-type]


def row(
    *rounds: Iterable[float],
    graph: str = "encoder",
    backend: Backend = "torch",
    batch: int = 1,
    threads: int = 2,
    speedup: float | None = None,
) -> Row:
    runs = tuple(run(samples) for samples in rounds)
    return Row(
        graph, backend, "cpu", threads, {"batch": batch}, "ok",
        file_bytes=1_500_000, parity=Parity(True, 2e-7, 131.2, 1e-5), speedup=speedup,
        summary=summarise([run.samples_ns for run in runs], batch), runs=runs,
    )  # fmt: skip


def benchmark(*rows: Row, complete: bool = True, **facts: object) -> Benchmark:
    known = {
        "subject": {"name": "last.ckpt", "layout": "cyclegan"},
        "machine": MACHINE,
        "versions": {"torch": "2.13.0", "onnxruntime": "1.31.1"},
        "options": {"seed": 0, "rounds": 1},
        "method": Method(),
        **facts,
    }
    return Benchmark(complete=complete, rows=rows, **known)  # type: ignore[arg-type]
