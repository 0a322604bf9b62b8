from __future__ import annotations

import pytest

from convcore.bench.sweep import check_axes, sweep
from convcore.errors import UsageError
from convcore.layouts.graph import Axis, Graph


def graph(*shape: int | str) -> Graph:
    return Graph("g", "part", (Axis("x", shape),), (Axis("y", shape),), network=lambda: None)  # type: ignore[arg-type,return-value]


def test_every_combination_is_tried_smallest_first() -> None:
    cases = sweep(("batch", "time"), {"time": (64, 8), "batch": (8, 1)}, other=32)

    assert [tuple(case.values()) for case in cases] == [(1, 8), (1, 64), (8, 8), (8, 64)]


def test_an_axis_nobody_named_has_one_size_and_a_batch_is_one() -> None:
    assert sweep(("batch", "time"), {}, other=32) == [{"batch": 1, "time": 32}]


def test_a_graph_without_dynamic_axes_is_one_case() -> None:
    assert sweep((), {"batch": (1, 8)}, other=32) == [{}]


def test_a_size_for_an_axis_that_no_graph_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no graph here has a dynamic axis 'tme'") as caught:
        check_axes([graph("batch", "time", 4), graph(1, "sets")], {"tme": (8,)})

    assert "batch, sets, time" in caught.value.seen[0]


def test_an_axis_that_one_of_the_graphs_has_is_fine() -> None:
    check_axes([graph("batch", 4), graph(1, "sets")], {"sets": (8,), "batch": (1,)})
