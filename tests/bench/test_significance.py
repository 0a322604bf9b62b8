from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convcore.bench.significance import holm, mann_whitney, ratio_interval

stats = pytest.importorskip("scipy.stats")

SERIES = st.lists(st.integers(0, 30).map(float), min_size=3, max_size=40)


@settings(max_examples=60)
@given(one=SERIES, other=SERIES)
def test_mann_whitney_is_that_of_scipy(one: list[float], other: list[float]) -> None:
    ours = mann_whitney(one, other)

    if len({*one, *other}) == 1:
        assert ours == 1.0  # scipy has no answer where nothing varies
        return
    theirs = stats.mannwhitneyu(one, other, method="asymptotic", use_continuity=True).pvalue
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("series", [[], [1.0, 1.0]], ids=["empty", "constant"])
def test_mann_whitney_finds_nothing_where_there_is_nothing(series: list[float]) -> None:
    assert mann_whitney(series, series) == 1.0


def test_holm_corrects_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one() -> None:
    assert holm([0.9, 0.8, 1.0]) == [1.0, 1.0, 1.0]


def test_the_ratio_interval_holds_the_true_ratio_and_is_reproducible() -> None:
    chance = np.random.default_rng(3)
    before, after = chance.normal(10, 0.5, 40), chance.normal(12, 0.5, 40)

    low, high = ratio_interval(list(before), list(after))

    assert low < 1.2 < high
    assert (low, high) == ratio_interval(list(before), list(after))
