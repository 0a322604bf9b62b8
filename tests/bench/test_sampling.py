from __future__ import annotations

import gc

import pytest

from convcore.bench.sampling import Method, sample, warm_up
from tests.bench.synthetic import MS, clock, endless

METHOD = Method(
    min_iterations=10, max_iterations=500, min_seconds=0.1, max_seconds=2.0, interval=0.02,
    warmup_seconds=1.0, window_seconds=0.02, windows=3, agreement=0.05,
)  # fmt: skip


def test_warm_up_ends_when_the_last_three_windows_agree() -> None:
    slow_then_steady = [40, 30, 24, 22, 20, 20, 20, 20, 20, 20]

    warmup = warm_up(clock(slow_then_steady), METHOD)

    assert warmup.settled
    assert warmup.iterations == 7  # 20, 20, 20 is the first triple within 5 %


def test_a_window_gathers_short_calls_until_it_is_long_enough() -> None:
    warmup = warm_up(clock([1.0] * 100), METHOD)

    assert warmup.settled
    assert warmup.iterations == 3 * 20


def test_one_odd_call_inside_a_window_does_not_prolong_the_warm_up() -> None:
    calls = [1.0] * 25 + [4.0] + [1.0] * 100

    warmup = warm_up(clock(calls), METHOD)

    assert warmup.settled
    assert warmup.iterations < 62


def test_warm_up_that_never_settles_is_cut_at_the_cap_and_says_so() -> None:
    warmup = warm_up(clock(endless(lambda index: 20.0 * 1.1**index)), METHOD)

    assert not warmup.settled
    assert 1.0 <= warmup.seconds < 1.2


def test_a_single_call_beyond_the_cap_is_all_the_warm_up_there_is() -> None:
    warmup = warm_up(clock([5000.0]), METHOD)

    assert (warmup.iterations, warmup.settled) == (1, False)


def test_sampling_goes_on_until_the_minimum_duration() -> None:
    sampling = sample(clock([5.0] * 1000), METHOD)

    assert sampling.settled
    assert sum(sampling.samples_ns) == 100 * MS


def test_sampling_goes_on_until_the_minimum_count() -> None:
    sampling = sample(clock([50.0] * 1000), METHOD)

    assert sampling.settled
    assert len(sampling.samples_ns) == 10


def test_sampling_goes_on_until_the_median_is_sure() -> None:
    steady = sample(clock(endless(lambda index: 10 + 0.01 * (index % 7))), METHOD)
    shaky = sample(clock(endless(lambda index: 10 + 0.5 * (index * 5 % 7))), METHOD)

    assert steady.settled
    assert shaky.settled
    assert len(shaky.samples_ns) > 2 * len(steady.samples_ns)


@pytest.mark.parametrize(
    ("duration", "calls"), [(100.0, 20), (0.1, 500)], ids=["seconds", "iterations"]
)
def test_a_median_that_never_gets_sure_is_cut_at_a_cap(duration: float, calls: int) -> None:
    sampling = sample(clock(endless(lambda index: duration * (0.5 if index % 2 else 1.5))), METHOD)

    assert not sampling.settled
    assert len(sampling.samples_ns) == calls


def test_samples_keep_their_order() -> None:
    sampling = sample(clock(endless(lambda index: 30 + index)), METHOD)

    assert list(sampling.samples_ns) == sorted(sampling.samples_ns)


def test_the_garbage_collector_waits_until_sampling_is_over() -> None:
    seen = set()

    def call() -> int:
        seen.add(gc.isenabled())
        return 50 * MS

    sample(call, METHOD)

    assert seen == {False}
    assert gc.isenabled()
