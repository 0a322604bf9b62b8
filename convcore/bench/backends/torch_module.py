"""Torch, eager or compiled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from convcore.bench.backends.contender import Bound, Contender
from convcore.bench.clock import Clock, CudaClock, HostClock
from convcore.bench.memory import peak_resident, reset_peak

if TYPE_CHECKING:
    import numpy as np
    import torch

    from convcore.bench.job import Job

    Arrays = Mapping[str, np.ndarray[Any, Any]]

_COPIES = 21


def load(job: Job) -> Contender:
    """Build the graph's network with its weights and place it on the device."""
    began = time.perf_counter()
    import torch

    from convcore.bench.origin import open_graph
    from convcore.targets.networks import build

    imported = time.perf_counter()
    torch.set_num_threads(job.threads)
    torch.set_num_interop_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # parity is judged in float32, so that is what is timed
    clock = clock_for(job.device)
    match, graph = open_graph(job)
    module = build(graph, match).to(job.device)
    loaded = time.perf_counter()
    names = [axis.name for axis in graph.inputs]
    outputs = [axis.name for axis in graph.outputs]

    def bind(arrays: Arrays) -> Bound:
        host = [torch.from_numpy(arrays[name]) for name in names]
        placed = [tensor.to(job.device) for tensor in host]
        called: Any = module
        if job.backend == "torch-compile":
            torch.compiler.reset()  # each size gets the code it would get alone
            called = torch.compile(module)

        def read(answer: Any) -> Arrays:
            values = (answer,) if isinstance(answer, torch.Tensor) else tuple(answer)
            arrays = (value.cpu().numpy() for value in values)
            return dict(zip(outputs, arrays, strict=True))

        return Bound(lambda: called(*placed), read, copy_time(host, job.device, clock))

    on_cuda = job.device != "cpu"
    return Contender(
        imported - began,
        loaded - imported,
        clock,
        bind,
        torch.inference_mode,
        dict,
        (lambda: torch.cuda.reset_peak_memory_stats(job.device)) if on_cuda else reset_peak,
        (lambda: torch.cuda.max_memory_allocated(job.device)) if on_cuda else peak_resident,
    )


def clock_for(device: str) -> Clock:
    """The host's counter for the CPU; events on a stream that becomes torch's current one for CUDA.

    Not the default stream: that is the null pointer, which onnxruntime takes for "none given".
    """
    if device == "cpu":
        return HostClock()
    import torch

    torch.cuda.set_device(device)
    make_stream: Callable[[str], Any] = torch.cuda.Stream  # untyped in torch
    stream = make_stream(device)
    torch.cuda.set_stream(stream)
    return CudaClock(stream)


def copy_time(host: list[torch.Tensor], device: str, clock: Clock) -> int | None:
    """Median nanoseconds of copying inputs to a CUDA device; None for the CPU."""
    if device == "cpu":
        return None
    times = sorted(clock.time(lambda: [t.to(device) for t in host]) for _ in range(_COPIES))
    return times[_COPIES // 2]
