"""The contenders: each loads a graph its own way and then only has to be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import attrs

from convcore.bench.clock import Clock
from convcore.bench.record import BACKENDS
from convcore.options import Backend

if TYPE_CHECKING:
    import numpy as np

    from convcore.bench.job import Job

    Arrays = Mapping[str, np.ndarray[Any, Any]]

__all__ = ["BACKENDS", "Backend", "Bound", "Contender", "load"]


@attrs.frozen
class Bound:
    """A contender with its inputs where it wants them.

    Attributes:
        step: Makes one call.
        outputs: Turns what ``step`` returned into arrays by output name.
        copy_ns: Median time of copying the inputs to the device; None on the CPU.
    """

    step: Callable[[], Any]
    outputs: Callable[[Any], Arrays]
    copy_ns: int | None = None


@attrs.frozen
class Contender:
    """A loaded backend.

    Attributes:
        import_s: What importing its package took, in seconds.
        load_s: What building it with its weights took.
        clock: What times it.
        bind: Places inputs.
        context: Entered around everything from the first call on.
        providers: Execution providers that ran, with their number of nodes; asked once, after the
            first call.
        reset_peak: Forgets the peak memory so far.
        peak: Peak memory in bytes.
    """

    import_s: float
    load_s: float
    clock: Clock
    bind: Callable[[Arrays], Bound]
    context: Callable[[], AbstractContextManager[Any]]
    providers: Callable[[], Mapping[str, int]]
    reset_peak: Callable[[], None]
    peak: Callable[[], int]


def load(job: Job) -> Contender:
    """Load what the job names; imports its package."""
    if job.backend == "onnxruntime":
        from convcore.bench.backends import onnx_session

        return onnx_session.load(job)
    from convcore.bench.backends import torch_module

    return torch_module.load(job)
