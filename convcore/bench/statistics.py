"""Figures of a series of latencies: percentiles, variation, and how sure the median is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

import attrs

BLOCKS = 40
FEW = 20
"""Calls below which there are no percentiles worth the name."""

_Z95 = 1.959964  # two-sided 95 % point of the normal distribution


@attrs.frozen
class Summary:
    """What is told of a series; times in milliseconds.

    Attributes:
        iterations: Calls measured; below ``FEW`` there are no percentiles but the median.
        cv: Coefficient of variation, sample standard deviation by mean; None below ``FEW`` calls.
        interval: Half width of the 95 % confidence interval of the median, relative to it; None
            where too few calls were made to have one.
        throughput_per_s: Batch elements per second, from the mean.
    """

    iterations: int
    p50_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    mean_ms: float
    min_ms: float
    max_ms: float
    cv: float | None
    interval: float | None
    throughput_per_s: float


def summarise(series: Sequence[Sequence[int]], batch: int) -> Summary:
    """Sum up the latencies of one contender, in nanoseconds, one series per process.

    Raises:
        ValueError: There is no sample at all.
    """
    pooled = sorted(value for samples in series for value in samples)
    if not pooled:
        raise ValueError("no samples to sum up")
    mean = statistics.fmean(pooled)
    spread = statistics.stdev(pooled, mean) if len(pooled) > 1 else 0.0
    enough = len(pooled) >= FEW
    p90, p95, p99 = (percentile(pooled, q) / 1e6 if enough else None for q in (90, 95, 99))
    interval = relative_interval([value for samples in series for value in samples])
    return Summary(
        iterations=len(pooled),
        p50_ms=percentile(pooled, 50) / 1e6,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=mean / 1e6,
        min_ms=pooled[0] / 1e6,
        max_ms=pooled[-1] / 1e6,
        cv=None if not enough else spread / mean if mean else 0.0,
        interval=interval if math.isfinite(interval) else None,
        throughput_per_s=batch * 1e9 / mean if mean else 0.0,
    )


def percentile(ordered: Sequence[float], q: float) -> float:
    """Return the ``q``-th percentile of sorted values, interpolated linearly.

    Source: definition 7 of Hyndman and Fan (1996), the default of ``numpy.percentile``.
    """
    position = (len(ordered) - 1) * q / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def block_medians(samples: Sequence[float], blocks: int = BLOCKS) -> list[float]:
    """Cut a series into consecutive blocks and return the median of each.

    Neighbouring calls share caches, clock frequency and disturbances, so that a thousand calls are
    far fewer than a thousand independent observations; their blocks come close to being so.
    Fewer than two calls per block: the samples themselves.
    """
    if len(samples) < 2 * blocks:
        return [float(value) for value in samples]
    edges = [round(index * len(samples) / blocks) for index in range(blocks + 1)]
    return [statistics.median(samples[start:end]) for start, end in pairwise(edges)]


def relative_interval(samples: Sequence[float]) -> float:
    """Half width of the 95 % confidence interval of the median, relative to the median.

    Distribution-free, from the order statistics of the block medians; infinite below 8 samples.

    Source: ranks n/2 -+ z sqrt(n)/2, the normal approximation of the binomial (Conover, Practical
    Nonparametric Statistics, 3rd ed., section 3.2).
    """
    ordered = sorted(block_medians(samples))
    count = len(ordered)
    rank = math.floor((count - _Z95 * math.sqrt(count)) / 2)
    middle = statistics.median(ordered) if ordered else 0.0
    if rank < 1 or middle <= 0:
        return math.inf
    return (ordered[count - rank] - ordered[rank - 1]) / 2 / middle
