from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest

from convcore.bench.diff import compare, noise_of
from convcore.bench.record import Row
from tests.bench.synthetic import MACHINE, benchmark, row


def noisy(median: float, seed: int, count: int = 400) -> list[float]:
    return list(np.random.default_rng(seed).normal(median, 0.04 * median, count))


def timed(median: float, seed: int, **facts: Any) -> Row:
    """A contender timed in two rounds, on a quiet machine."""
    return row(noisy(median, seed), noisy(median, seed + 1000), **facts)


def verdict(before: Row, after: Row) -> str:
    (change,) = compare(benchmark(before), benchmark(after)).changes
    return change.verdict


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(1.0, "same"), (1.03, "same"), (0.97, "same"), (1.15, "slower"), (0.85, "faster")],
    ids=["unchanged", "3 % slower", "3 % faster", "15 % slower", "15 % faster"],
)
def test_only_changes_beyond_the_noise_are_called(factor: float, expected: str) -> None:
    assert verdict(timed(10, 1), timed(10 * factor, 2)) == expected


def test_two_runs_of_the_same_thing_are_never_told_apart() -> None:
    rows = [timed(5, seed, batch=seed + 1) for seed in range(30)]
    again = [timed(5, 100 + seed, batch=seed + 1) for seed in range(30)]

    comparison = compare(benchmark(*rows), benchmark(*again))

    assert {change.verdict for change in comparison.changes} == {"same"}


def test_rounds_that_lie_far_apart_raise_the_noise() -> None:
    before = row(noisy(10, 1), noisy(12, 2))

    assert noise_of(before) == pytest.approx(0.2, abs=0.02)
    assert verdict(before, row(noisy(12, 3), noisy(12.2, 4))) == "same"


def test_a_few_wild_calls_are_no_regression() -> None:
    calm = noisy(10, 1)
    wild = [*noisy(10, 2)[:-20], *([90.0] * 20)]

    assert verdict(row(calm, noisy(10, 3)), row(wild, noisy(10, 4))) == "same"


def test_missing_and_new_contenders_are_said() -> None:
    before = benchmark(timed(1, 1), timed(1, 1, backend="onnxruntime"))
    after = benchmark(timed(1, 1), timed(1, 1, batch=8))

    changes = compare(before, after).changes

    assert [change.verdict for change in changes] == ["same", "missing", "new"]


def test_a_contender_that_fails_now_is_a_regression_at_any_limit() -> None:
    good = row(noisy(1, 1))
    bad = attrs.evolve(good, status="failed", reason="parity", runs=(), summary=None)

    worse = compare(benchmark(good), benchmark(bad))
    better = compare(benchmark(bad), benchmark(good))

    assert [change.verdict for change in worse.regressions(1000)] == ["failed"]
    assert [change.verdict for change in better.changes] == ["fixed"]
    assert better.regressions(0) == ()


@pytest.mark.parametrize(("percent", "count"), [(10, 1), (30, 0)], ids=["below", "above"])
def test_a_slowdown_is_a_regression_when_it_exceeds_the_limit(percent: float, count: int) -> None:
    comparison = compare(benchmark(timed(10, 1)), benchmark(timed(12, 2)))

    assert len(comparison.regressions(percent)) == count


def test_different_machines_and_versions_are_said() -> None:
    before = benchmark(row(noisy(1, 1)))
    after = benchmark(
        row(noisy(1, 1)),
        machine={**MACHINE, "cores": 64},
        versions={"torch": "2.12.0", "onnxruntime": "1.31.1"},
        complete=False,
    )

    notes = compare(before, after).notes

    assert notes == (
        "different machines, cores: 2 and 64",
        "different versions of torch: 2.13.0 and 2.12.0",
        "the second benchmark was interrupted: rows are missing",
    )


def heaps(share: float, seed: int, ratio: float = 3.0) -> list[float]:
    """Calls of which a share takes several times as long as the others."""
    chance = np.random.default_rng(seed)
    return [value * (ratio if chance.random() < share else 1) for value in noisy(10, seed)]


def busy(made: Row, share: float) -> Row:
    return attrs.evolve(made, runs=tuple(attrs.evolve(run, others_busy=share) for run in made.runs))


DOUBTFUL = {
    "a second heap": (row(heaps(0.3, 1), heaps(0.3, 2)), "two heaps of calls: 7"),
    "a busy neighbour": (busy(timed(20, 1), 0.4), "busy machine: others used 40%"),
    "a wide interval": (row([10.0, 20.0, 13.0, 17.0, 11.0] * 5, [15.0] * 25), "wide interval"),
    "few calls": (row([20.0] * 5, [20.0] * 5), "few calls: 10"),
    "rounds far apart": (row(noisy(10, 1), noisy(20, 2)), "rounds apart"),
    "a single round": (row(noisy(20, 1)), "one round: the noise between processes is unknown"),
}


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(("doubtful", "why"), DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_a_row_in_doubt_gets_no_verdict_and_is_no_regression(
    doubtful: Row, why: str, side: str
) -> None:
    pair = benchmark(doubtful), benchmark(timed(10, 7))

    comparison = compare(*(pair if side == "before" else pair[::-1]))

    (change,) = comparison.changes
    assert change.verdict == "unsure"
    assert why in "; ".join(change.doubts)
    assert comparison.regressions(0) == ()


@pytest.mark.parametrize("share", [0.0, 0.1], ids=["idle", "a tenth"])
def test_a_neighbour_that_hardly_works_hides_no_regression(share: float) -> None:
    assert verdict(busy(timed(10, 1), share), busy(timed(11.5, 2), share)) == "slower"
