from __future__ import annotations

import attrs
import numpy as np
import pytest

from convcore.bench.diff import compare, noise_of
from convcore.bench.record import Row
from tests.bench.synthetic import MACHINE, benchmark, row


def noisy(median: float, seed: int, count: int = 400) -> list[float]:
    return list(np.random.default_rng(seed).normal(median, 0.04 * median, count))


def verdict(before: Row, after: Row) -> str:
    (change,) = compare(benchmark(before), benchmark(after)).changes
    return change.verdict


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(1.0, "same"), (1.03, "same"), (0.97, "same"), (1.2, "slower"), (0.8, "faster")],
    ids=["unchanged", "3 % slower", "3 % faster", "20 % slower", "20 % faster"],
)
def test_only_changes_beyond_the_noise_are_called(factor: float, expected: str) -> None:
    assert verdict(row(noisy(10, 1)), row(noisy(10 * factor, 2))) == expected


def test_two_runs_of_the_same_thing_are_never_told_apart() -> None:
    rows = [row(noisy(5, seed), batch=seed + 1) for seed in range(30)]
    again = [row(noisy(5, 100 + seed), batch=seed + 1) for seed in range(30)]

    comparison = compare(benchmark(*rows), benchmark(*again))

    assert {change.verdict for change in comparison.changes} == {"same"}


def test_rounds_that_lie_far_apart_raise_the_noise() -> None:
    before = row(noisy(10, 1), noisy(12, 2))

    assert noise_of(before) == pytest.approx(0.2, abs=0.02)
    assert verdict(before, row(noisy(12, 3), noisy(12.2, 4))) == "same"


def test_a_few_wild_calls_are_no_regression() -> None:
    calm = noisy(10, 1)
    wild = [*noisy(10, 2)[:-20], *([90.0] * 20)]

    assert verdict(row(calm), row(wild)) == "same"


def test_missing_and_new_contenders_are_said() -> None:
    before = benchmark(row(noisy(1, 1)), row(noisy(1, 1), backend="onnxruntime"))
    after = benchmark(row(noisy(1, 1)), row(noisy(1, 1), batch=8))

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
    comparison = compare(benchmark(row(noisy(10, 1))), benchmark(row(noisy(12, 2))))

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
