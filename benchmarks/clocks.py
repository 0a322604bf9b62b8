"""The clock that others use: one contender timed by torch.utils.benchmark, or by a bare loop.

    python benchmarks/clocks.py FOLDER GRAPH torch|onnxruntime THREADS SIZES

FOLDER is an output of ``convcore convert --to pth --to onnx``, SIZES a JSON object of axis sizes.
Prints the median latency in milliseconds. Nothing of convcore.bench is used: this is what its
medians are held against by ``benchmarks/latency.py --check-clocks``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

SECONDS = 1.0
WARM_UP = 200


def main() -> None:
    """Time what the arguments name."""
    folder, name, backend, threads, sizes = sys.argv[1:]
    from convcore.host import load_registry
    from convcore.proof.reopened import reopen
    from convcore.samples import draw

    match = reopen(Path(folder), load_registry())
    graph = next(graph for graph in match.layout.graphs(match) if graph.name == name)
    arrays = draw(graph, json.loads(sizes), seed=0)
    if backend == "torch":
        from convcore.network import build

        print(
            torch_median(build(graph, match), [arrays[a.name] for a in graph.inputs], int(threads))
        )
    else:
        print(onnxruntime_median(Path(folder, f"{name}.onnx"), arrays, int(threads)))


def torch_median(module: Any, arrays: list[Any], threads: int) -> float:
    """Median by torch.utils.benchmark, in milliseconds."""
    import torch
    from torch.utils.benchmark import Timer

    inputs = [torch.from_numpy(array) for array in arrays]
    timer = Timer(
        "module(*inputs)", globals={"module": module, "inputs": inputs}, num_threads=threads
    )
    with torch.inference_mode():
        for _ in range(WARM_UP):
            module(*inputs)
        return timer.blocked_autorange(min_run_time=SECONDS).median * 1e3


def onnxruntime_median(path: Path, arrays: dict[str, Any], threads: int) -> float:
    """Median of a bare loop over a session, in milliseconds."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(WARM_UP):
        session.run(None, arrays)
    times = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        session.run(None, arrays)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    main()
