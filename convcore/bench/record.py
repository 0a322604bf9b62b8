"""What a benchmark leaves behind: rows of contenders, the method, the machine, the versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import attrs

from convcore.bench.sampling import Method, Warmup
from convcore.bench.statistics import Summary
from convcore.options import Backend

SCHEMA_VERSION = 1
Status = Literal["ok", "failed", "skipped"]
Key = tuple[str, str, str, int, tuple[tuple[str, int], ...]]

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
EAGER: Backend = "torch"
BACKENDS: tuple[Backend, ...] = get_args(Backend)


@attrs.frozen
class Parity:
    """How a contender's outputs differ from torch eager's, over all outputs.

    Attributes:
        passed: Whether every difference lies within the tolerance.
        max_abs_error: Largest absolute difference.
        snr_db: Signal to noise of the worst output in decibel; None where nothing differs.
        tolerance: Largest absolute difference allowed for the output nearest to its limit.
        problem: Why outputs cannot be compared at all (a NaN, another shape), or None.
    """

    passed: bool
    max_abs_error: float
    snr_db: float | None
    tolerance: float
    problem: str | None = None


@attrs.frozen
class Run:
    """What one process measured of one contender at one size.

    Attributes:
        samples_ns: Timed calls in order, in nanoseconds; evenly thinned in a saved file.
        iterations: Calls timed, before thinning.
        settled: Whether the rules of the method were met before its caps.
        warmup: The calls before.
        import_s: Importing the backend's package.
        load_s: Building the network or session with its weights.
        first_call_s: The very first call; compiles where the backend compiles.
        peak_bytes: Largest resident memory (CUDA: device memory) from the first call on.
        copy_ns: Median time of copying the inputs to the device; None on the CPU.
        others_busy: Share of all processors that other work used meanwhile; None if unknown.
    """

    samples_ns: tuple[int, ...] = attrs.field(repr=False)
    iterations: int
    settled: bool
    warmup: Warmup
    import_s: float
    load_s: float
    first_call_s: float
    peak_bytes: int | None = None
    copy_ns: int | None = None
    others_busy: float | None = None


@attrs.frozen
class Row:
    """One contender: a graph on a backend, on a device, with so many threads, at one size.

    Attributes:
        graph: Name of the graph or component.
        device: ``cpu`` or ``cuda:0``.
        sizes: Size of every dynamic axis; empty where the graph has none.
        status: ``failed`` also where a result differs from torch eager's.
        reason: Why it failed or was skipped.
        file_bytes: Bytes of the file the contender ships as.
        providers: onnxruntime only: execution provider to number of graph nodes it really ran.
        parity: Comparison with torch eager on the CPU; None where only an ONNX file was there.
        speedup: Torch eager's median by this one's; None without either, when parity failed, and
            where either is in doubt.
        summary: Figures over all runs.
        warnings: What to know before believing the figures.
        runs: One per process.
        doubts: Why the figures are fit for no verdict; empty where they are.
    """

    graph: str
    backend: Backend
    device: str
    threads: int
    sizes: Mapping[str, int]
    status: Status
    reason: str | None = None
    file_bytes: int | None = None
    providers: Mapping[str, int] = attrs.field(factory=dict)
    parity: Parity | None = None
    speedup: float | None = None
    summary: Summary | None = None
    warnings: tuple[str, ...] = ()
    runs: tuple[Run, ...] = attrs.field(default=(), repr=False)
    doubts: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """What makes rows of two benchmarks the same contender."""
        return (
            self.graph,
            self.backend,
            self.device,
            self.threads,
            tuple(sorted(self.sizes.items())),
        )

    @property
    def batch(self) -> int:
        """Elements of one call."""
        return self.sizes.get("batch", 1)


@attrs.frozen
class Benchmark:
    """Everything one benchmark found out.

    Attributes:
        subject: What was timed: ``name``, ``layout``, ``source`` and ``sha256`` where known.
        method: The rules of every measurement.
        options: Seed, rounds and whatever else was chosen.
        machine: Processor, cores, memory, system, CUDA devices.
        versions: Package to version.
        complete: Whether every contender has had its turn.
        notes: Said once, such as an absent CUDA.
        rows: The contenders, in the order they finished.
    """

    subject: Mapping[str, Any]
    method: Method
    options: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    complete: bool = False
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    schema_version: int = SCHEMA_VERSION


def graphs_of(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by graph, in the order the graphs first appear."""
    graphs: dict[str, list[Row]] = {}
    for row in rows:
        graphs.setdefault(row.graph, []).append(row)
    return graphs
