"""When a contender is warm, and when enough calls have been timed."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from convcore.bench.statistics import relative_interval

TimedCall = Callable[[], int]
"""Makes one call and returns how long it took, in nanoseconds."""


@attrs.frozen
class Method:
    """The rules of one measurement; durations are sums of timed calls, in seconds.

    Attributes:
        min_iterations: Calls timed at least.
        max_iterations: Calls timed at most.
        min_seconds: Duration timed at least.
        max_seconds: Duration after which timing stops whatever else is missing.
        interval: Half width of the median's 95 % confidence interval to reach, relative to it.
        warmup_seconds: Cap of the warm-up.
        window_seconds: Length of a warm-up window; a longer call is a window by itself.
        windows: How many last windows have to agree.
        agreement: Largest relative difference between the medians of windows that agree.
    """

    min_iterations: int = 30
    max_iterations: int = 20_000
    min_seconds: float = 0.5
    max_seconds: float = 5.0
    interval: float = 0.01
    warmup_seconds: float = 3.0
    window_seconds: float = 0.05
    windows: int = 3
    agreement: float = 0.03


@attrs.frozen
class Warmup:
    """How the warm-up went: its calls, their duration, and whether the last windows agreed."""

    iterations: int
    seconds: float
    settled: bool


@attrs.frozen
class Sampling:
    """The timed calls in order, in nanoseconds, and whether every rule was met before the caps."""

    samples_ns: tuple[int, ...]
    settled: bool


def warm_up(call: TimedCall, method: Method) -> Warmup:
    """Call until the medians of the last windows agree, or until the cap."""
    medians: list[float] = []
    window: list[int] = []
    iterations = spent = window_end = 0
    while spent < method.warmup_seconds * 1e9:
        window.append(call())
        iterations += 1
        spent += window[-1]
        if spent < window_end + method.window_seconds * 1e9:
            continue
        medians.append(statistics.median(window))
        window, window_end = [], spent
        last = medians[-method.windows :]
        if len(last) == method.windows and max(last) <= min(last) * (1 + method.agreement):
            return Warmup(iterations, spent / 1e9, settled=True)
    return Warmup(iterations, spent / 1e9, settled=False)


def sample(call: TimedCall, method: Method) -> Sampling:
    """Time calls until count, duration and confidence interval suffice, or until a cap."""
    samples: list[int] = []
    spent = 0
    look_at = method.min_iterations
    with _collector_paused():
        while len(samples) < method.max_iterations and spent < method.max_seconds * 1e9:
            samples.append(call())
            spent += samples[-1]
            if len(samples) < look_at or spent < method.min_seconds * 1e9:
                continue
            if relative_interval(samples) <= method.interval:
                return Sampling(tuple(samples), settled=True)
            look_at = len(samples) + max(1, len(samples) // 5)  # looking is not free
    return Sampling(tuple(samples), settled=False)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector out of the samples, as ``timeit`` does."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
