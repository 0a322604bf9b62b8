"""Is a difference between two series of latencies more than chance?"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

from convcore.bench.statistics import percentile

_RESAMPLES = 1000


def mann_whitney(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p-value for "neither series tends to be larger".

    Source: Mann and Whitney (1947); normal approximation with correction for ties and continuity.
    """
    n, m = len(one), len(other)
    if not n or not m:
        return 1.0
    pooled = sorted([(value, 1) for value in one] + [(value, 0) for value in other])
    rank_sum = ties = 0.0
    start = 0
    while start < len(pooled):
        end = start
        while end < len(pooled) and pooled[end][0] == pooled[start][0]:
            end += 1
        shared_rank = (start + 1 + end) / 2
        rank_sum += shared_rank * sum(of_one for _, of_one in pooled[start:end])
        ties += (end - start) ** 3 - (end - start)
        start = end
    total = n + m
    u = rank_sum - n * (n + 1) / 2
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    z = max(0.0, abs(u - n * m / 2) - 0.5) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def ratio_interval(
    before: Sequence[float], after: Sequence[float], seed: int = 0
) -> tuple[float, float]:
    """99 % percentile bootstrap interval of median(after) / median(before), reproducible."""
    chance = random.Random(seed)
    ratios = sorted(
        statistics.median(chance.choices(after, k=len(after)))
        / statistics.median(chance.choices(before, k=len(before)))
        for _ in range(_RESAMPLES)
    )
    return percentile(ratios, 0.5), percentile(ratios, 99.5)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being many, in their order.

    Source: Holm (1979), a simple sequentially rejective multiple test procedure.
    """
    corrected = list(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - place)))
        corrected[index] = largest
    return corrected
