from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convcore.bench.statistics import FEW, block_medians, percentile, relative_interval, summarise

LATENCIES = st.lists(st.integers(min_value=1, max_value=10**10), min_size=2, max_size=80)


@given(values=LATENCIES, q=st.sampled_from([0, 5, 50, 90, 95, 99, 100]))
def test_percentiles_are_those_of_numpy(values: list[int], q: int) -> None:
    ours = percentile(sorted(values), q)

    assert ours == pytest.approx(float(np.percentile(values, q)), rel=1e-12)


@given(values=LATENCIES)
def test_mean_variation_and_throughput_are_those_of_numpy(values: list[int]) -> None:
    summary = summarise([values], batch=4)

    assert summary.mean_ms == pytest.approx(np.mean(values) / 1e6)
    variation = np.std(values, ddof=1) / np.mean(values)
    assert summary.cv == (pytest.approx(variation, abs=1e-9) if len(values) >= FEW else None)
    assert summary.throughput_per_s == pytest.approx(4e9 / np.mean(values))


def test_rounds_are_pooled_before_percentiles_are_taken() -> None:
    summary = summarise([[1_000_000] * 30, [3_000_000] * 10], batch=1)

    assert (summary.iterations, summary.p50_ms, summary.p95_ms) == (40, 1.0, 3.0)


def test_no_samples_have_no_summary() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarise([[]], batch=1)


def test_blocks_cover_the_series_in_order() -> None:
    medians = block_medians(range(1000), blocks=10)

    assert medians == [49.5 + 100 * block for block in range(10)]


def test_few_samples_are_their_own_blocks() -> None:
    assert block_medians([3, 1, 2], blocks=40) == [3.0, 1.0, 2.0]


def test_the_interval_of_the_median_holds_it_95_times_in_100() -> None:
    chance = np.random.default_rng(7)
    true_median = math.exp(0)
    hits = 0
    for _ in range(400):
        samples = chance.lognormal(0, 0.3, size=200)
        middle = float(np.median(block_medians(list(samples))))
        half = relative_interval(list(samples)) * middle
        hits += abs(middle - true_median) <= half

    assert 0.91 <= hits / 400 <= 0.99


def test_the_interval_does_not_believe_neighbours_that_resemble_one_another() -> None:
    steps = [100.0 + (index // 100) % 10 for index in range(2000)]  # slow waves
    shuffled = list(np.random.default_rng(0).permutation(steps))

    assert relative_interval(steps) > 2 * relative_interval(shuffled)


@pytest.mark.parametrize("count", [0, 1, 5], ids="{} samples".format)
def test_a_handful_of_samples_gives_no_interval(count: int) -> None:
    assert relative_interval([10.0] * count) == math.inf


def test_equal_samples_leave_no_doubt() -> None:
    assert relative_interval([10.0] * 30) == 0
