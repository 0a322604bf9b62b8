"""What times a call: the host's counter, or CUDA events around the work of a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import attrs

Step = Callable[[], Any]


class Clock(Protocol):
    """Anything that makes a call and says how long it took."""

    def time(self, step: Step) -> int:
        """Call ``step`` once and return the nanoseconds it took."""


class HostClock:
    """The host's monotonic counter; right for work that is done when the call returns."""

    def time(self, step: Step) -> int:
        """Call ``step`` once and return the nanoseconds it took."""
        begin = time.perf_counter_ns()
        step()
        return time.perf_counter_ns() - begin


@attrs.frozen
class CudaClock:
    """CUDA events on the stream the work is queued on, waited for after every call.

    The device is idle when the first event is recorded, so that launching the kernels is part of
    what is timed: a latency, not a throughput.

    Attributes:
        stream: The ``torch.cuda.Stream`` the contender computes on.
    """

    stream: Any = attrs.field(repr=False)

    def time(self, step: Step) -> int:
        """Call ``step`` once and return the nanoseconds between the two events."""
        import torch

        event: Callable[..., Any] = torch.cuda.Event  # untyped in torch
        begin, end = event(enable_timing=True), event(enable_timing=True)
        self.stream.synchronize()
        begin.record(self.stream)
        step()
        end.record(self.stream)
        end.synchronize()
        return round(float(begin.elapsed_time(end)) * 1e6)
