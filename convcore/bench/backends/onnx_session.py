"""onnxruntime: a plain session on the CPU, one with bound inputs and outputs on CUDA."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore import onnx_runtime
from convcore.bench.backends.contender import Bound, Contender
from convcore.bench.clock import Clock, HostClock
from convcore.bench.memory import peak_resident, reset_peak
from convcore.bench.record import CPU_PROVIDER, CUDA_PROVIDER

if TYPE_CHECKING:
    import numpy as np

    from convcore.bench.job import Job

    Arrays = Mapping[str, np.ndarray[Any, Any]]


def load(job: Job) -> Contender:
    """Open the job's ONNX file on its device.

    The first call is profiled, since only the profile says which provider ran which node; timing
    starts after the profiler has been stopped.
    """
    if job.onnx is None:
        raise ValueError(f"{job.graph} has no ONNX file")
    on_cuda = job.device != "cpu"
    clock: Clock = HostClock()
    if on_cuda:  # importing torch also loads the CUDA libraries that onnxruntime looks for
        from convcore.bench.backends.torch_module import clock_for

        clock = clock_for(job.device)
    began = time.perf_counter()
    runtime = onnx_runtime.load()
    imported = time.perf_counter()
    options = onnx_runtime.options(job.threads)
    options.inter_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(job.scratch, "profile"))
    providers: list[Any] = [CPU_PROVIDER]
    free_before = 0
    if on_cuda:
        free_before = _cuda_free(job.device)
        providers.insert(0, (CUDA_PROVIDER, _cuda_options(job.device)))
    session = runtime.InferenceSession(job.onnx, sess_options=options, providers=providers)
    loaded = time.perf_counter()
    if on_cuda and CUDA_PROVIDER not in session.get_providers():
        raise RuntimeError(f"onnxruntime fell back to {', '.join(session.get_providers())}")
    names = [output.name for output in session.get_outputs()]

    def bind(arrays: Arrays) -> Bound:
        if on_cuda:
            return _bind_cuda(session, arrays, job.device, clock)
        feed = {value.name: arrays[value.name] for value in session.get_inputs()}
        return Bound(
            lambda: session.run(None, feed),  # as everybody calls it; names would save 0.4 µs
            lambda answer: dict(zip(names, answer, strict=True)),
        )

    return Contender(
        imported - began,
        loaded - imported,
        clock,
        bind,
        nullcontext,
        lambda: nodes_by_provider(Path(session.end_profiling())),
        (lambda: None) if on_cuda else reset_peak,
        (lambda: free_before - _cuda_free(job.device)) if on_cuda else peak_resident,
    )


def nodes_by_provider(profile: Path) -> Mapping[str, int]:
    """Count the nodes that each execution provider ran, from onnxruntime's profile.

    Source: the profile's events of category ``Node``, ``args.provider`` (onnxruntime, tune
    performance, profiling tools).
    """
    events = json.loads(profile.read_text("utf-8"))
    profile.unlink()
    nodes = {
        (event["name"], event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    return dict(Counter(provider for _, provider in nodes).most_common())


def _cuda_options(device: str) -> dict[str, str]:
    import torch

    return {
        "device_id": str(torch.device(device).index or 0),
        "user_compute_stream": str(torch.cuda.current_stream().cuda_stream),  # events see this one
        "use_tf32": "0",  # as torch is told to
    }


def _bind_cuda(session: Any, arrays: Arrays, device: str, clock: Clock) -> Bound:
    import torch

    from convcore.bench.backends.torch_module import copy_time

    index = torch.device(device).index or 0
    host = {value.name: torch.from_numpy(arrays[value.name]) for value in session.get_inputs()}
    placed = {name: tensor.to(device) for name, tensor in host.items()}
    binding = session.io_binding()
    for name, tensor in placed.items():
        binding.bind_input(
            name, "cuda", index, arrays[name].dtype, tuple(tensor.shape), tensor.data_ptr()
        )
    names = [output.name for output in session.get_outputs()]
    for name in names:
        binding.bind_output(name, "cuda", index)

    def step(kept: Any = placed) -> None:  # the binding holds addresses: the tensors must live
        session.run_with_iobinding(binding)

    def read(_: None) -> Arrays:
        return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))

    return Bound(step, read, copy_time(list(host.values()), device, clock))


def _cuda_free(device: str) -> int:
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return int(free)
