"""What makes a row's figures unfit for a verdict: it is shown, and called unsure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from convcore.bench.record import Run
from convcore.bench.statistics import FEW, relative_interval

BUSY = 0.10
"""Share of the processors used by others from which a measurement is theirs as much as ours."""

WIDE = 0.05
"""Half width of the median's 95 % confidence interval beyond which the median is not known."""

APART = 0.25
"""Relative distance of the rounds' medians beyond which none of them is *the* median."""

SMALLEST_HEAP = 0.10
"""Share of the calls from which a second heap is more than a tail."""

HEAP_DISTANCE = 0.10
"""Relative distance below which two heaps are as good as one."""

SEPARATION = 5.0
"""Distance of two heaps, in units of their own spread, from which they are two.

Halves of one heap lie up to 3.2 apart (the tail of an exponential distribution), however it is cut.
"""


def doubts(runs: Sequence[Run]) -> Iterator[str]:
    """Yield every reason not to believe what these runs of one contender measured."""
    busy = max((run.others_busy or 0.0 for run in runs), default=0.0)
    if busy > BUSY:
        yield f"busy machine: others used {busy:.0%} of the processors"
    calls = sum(run.iterations for run in runs)
    if calls < FEW:
        yield f"few calls: {calls}, of {FEW} at least"
    for heaps in filter(None, (two_heaps(run.samples_ns) for run in runs)):
        share, low, high = heaps
        yield f"two heaps of calls: {1 - share:.0%} near {low:.3g} ms, {share:.0%} near {high:.3g}"
        break
    interval = max((relative_interval(run.samples_ns) for run in runs), default=math.inf)
    if interval > WIDE:
        known = f"to ±{interval:.0%}" if math.isfinite(interval) else "from too few calls"
        yield f"wide interval: the median is known {known}"
    medians = [statistics.median(run.samples_ns) / 1e6 for run in runs if run.samples_ns]
    if medians and max(medians) > min(medians) * (1 + APART):
        yield f"rounds apart: medians from {min(medians):.3g} to {max(medians):.3g} ms"


def two_heaps(samples_ns: Sequence[int]) -> tuple[float, float, float] | None:
    """Find a second heap of calls, as of threads that sometimes wait for one another.

    Every cut of the sorted calls into two parts that leaves each its share is tried; parts are
    compared by the medians of their logarithms and by the middle two thirds of each, so that a few
    wild calls neither make a heap nor hide one.

    Returns:
        Share of the slower heap, and the medians of the faster and the slower one in milliseconds;
        None where the calls are one heap.
    """
    count = len(samples_ns)
    least = max(8, math.ceil(SMALLEST_HEAP * count))
    if count < FEW or min(samples_ns) <= 0:
        return None
    logs = [math.log(value) for value in sorted(samples_ns)]
    best, found = (SEPARATION, 0.0), None
    for cut in range(least, count - least + 1):
        low, high = _of(logs, 0, cut), _of(logs, cut, count)
        distance = high[1] - low[1]
        if distance <= math.log1p(HEAP_DISTANCE):
            continue
        spread = math.hypot(low[2] - low[0], high[2] - high[0]) / 2 / math.sqrt(2)
        # Of cuts that part two sharp heaps equally well, the one in the gap between them counts.
        merit = distance / spread if spread > 0 else math.inf, logs[cut] - logs[cut - 1]
        if merit > best:
            best, found = merit, (1 - cut / count, math.exp(low[1]) / 1e6, math.exp(high[1]) / 1e6)
    return found


def _of(ordered: Sequence[float], start: int, end: int) -> tuple[float, float, float]:
    """The 16th, 50th and 84th percentile of a stretch of sorted values."""
    last = end - start - 1
    return (
        ordered[start + round(0.16 * last)],
        ordered[start + round(0.50 * last)],
        ordered[start + round(0.84 * last)],
    )
