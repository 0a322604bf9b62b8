"""Our clock and the clock that others use, in turn, in one process, over one contender.

    python benchmarks/clocks.py FOLDER GRAPH torch|onnxruntime THREADS ROUNDS

FOLDER is an output of ``convcore convert --to pth --to onnx``. Prints median latencies of a call in
milliseconds at batch 1: ``{"ours": …, "theirs": …}``. Theirs is torch.utils.benchmark, or a bare
loop over a session of onnxruntime; nothing of convcore.bench is in it. Of ROUNDS turns each the
lowest is taken, because whatever else goes on in the machine can only add to a latency.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from convcore.engine.audit.reopened import reopen

from convcore.bench import backends
from convcore.bench.job import Job
from convcore.bench.sampling import Method, sample, warm_up
from convcore.bench.sweep import sweep
from convcore.host.registry import load_registry
from convcore.layouts.example_inputs import draw, dynamic_axes
from convcore.targets.networks import build

SECONDS = 0.4
WARM_UP = 50
METHOD = Method(min_seconds=0.3, max_seconds=0.5, warmup_seconds=0.5)
OTHER_SIZE = 32  # of dynamic axes, as convcore bench takes it

Arrays = Mapping[str, Any]
Clock = Callable[[], float]


def main() -> None:
    """Time what the arguments name."""
    folder, name, backend, threads, rounds = sys.argv[1:]
    match = reopen(Path(folder), load_registry())
    graph = next(graph for graph in match.layout.graphs(match) if graph.name == name)
    (sizes,) = sweep(dynamic_axes(graph), {}, OTHER_SIZE)
    arrays = draw(graph, sizes, seed=0)
    onnx = str(Path(folder, f"{name}.onnx"))
    with tempfile.TemporaryDirectory() as scratch:
        job = Job(folder, name, backend, "cpu", int(threads), (), METHOD, scratch, onnx)
        ours = our_clock(job, arrays)
        if backend == "torch":
            inputs = [arrays[axis.name] for axis in graph.inputs]
            theirs = torch_clock(build(graph, match), inputs, int(threads))
        else:
            theirs = onnxruntime_clock(onnx, arrays, int(threads))
        found = [(ours(), theirs()) for _ in range(int(rounds))]
    lowest = map(min, zip(*found, strict=True))
    print(json.dumps(dict(zip(("ours", "theirs"), lowest, strict=True))))


def our_clock(job: Job, arrays: Arrays) -> Clock:
    """What ``convcore bench`` does in its process: p50 in milliseconds."""
    contender = backends.load(job)
    bound = contender.bind(arrays)
    with contender.context():
        bound.step()
    contender.providers()  # stops the profiler

    def call() -> int:
        return contender.clock.time(bound.step)

    def p50() -> float:
        with contender.context():
            warm_up(call, job.method)
            return statistics.median(sample(call, job.method).samples_ns) / 1e6

    return p50


def torch_clock(module: Any, arrays: list[Any], threads: int) -> Clock:
    """Median by torch.utils.benchmark, call by call, in milliseconds."""
    import torch
    from torch.utils.benchmark import Timer

    inputs = [torch.from_numpy(array) for array in arrays]
    timer = Timer(
        "module(*inputs)", globals={"module": module, "inputs": inputs}, num_threads=threads
    )

    def median() -> float:
        with torch.inference_mode():
            timer.timeit(WARM_UP)
            times = []
            end = time.perf_counter() + SECONDS
            while time.perf_counter() < end:
                times.append(timer.timeit(1).median)
            return statistics.median(times) * 1e3

    return median


def onnxruntime_clock(path: str, arrays: Arrays, threads: int) -> Clock:
    """Median of a bare loop over a session, in milliseconds."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def median() -> float:
        for _ in range(WARM_UP):
            session.run(None, arrays)
        times = []
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            began = time.perf_counter()
            session.run(None, arrays)
            times.append(time.perf_counter() - began)
        return statistics.median(times) * 1e3

    return median


if __name__ == "__main__":
    main()
