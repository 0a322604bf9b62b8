"""Made-up inputs are legal, repeatable, and of more than one size."""

from __future__ import annotations

import numpy as np
import pytest

from convcore.layouts.example_inputs import draw, dynamic_axes, sizes_for
from convcore.layouts.graph import Axis, Graph

FEATURES = Axis("features", ("batch", "time", 6))
TOKENS = Axis("tokens", ("batch", 3, "time"), "int64", lambda rng, shape: rng.integers(5, 9, shape))
FLAGS = Axis("flags", (2,), "int64")


def made_of(*inputs: Axis) -> Graph:
    return Graph("graph", "part", inputs, (), lambda: pytest.fail("no network is needed"))


def test_the_same_seed_draws_the_same_numbers() -> None:
    graph, sizes = made_of(FEATURES, TOKENS), {"batch": 2, "time": 3}

    first, again, other = (draw(graph, sizes, seed) for seed in (1, 1, 2))

    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["features"], other["features"])


def test_an_input_more_does_not_change_the_others() -> None:
    sizes = {"batch": 2, "time": 3}

    alone, together = draw(made_of(FEATURES), sizes), draw(made_of(FEATURES, TOKENS), sizes)

    assert np.array_equal(alone["features"], together["features"])


@pytest.mark.parametrize("kind", ["normal", "zeros", "constant"])
def test_arrays_have_the_shape_and_dtype_of_their_axis(kind: str) -> None:
    drawn = draw(made_of(FEATURES, TOKENS, FLAGS), {"batch": 2, "time": 5}, kind=kind)

    assert {name: (array.shape, str(array.dtype)) for name, array in drawn.items()} == {
        "features": ((2, 5, 6), "float32"),
        "tokens": ((2, 3, 5), "int64"),
        "flags": ((2,), "int64"),
    }
    assert all(array.flags.c_contiguous for array in drawn.values())


def test_zeros_are_zeros_and_a_constant_is_constant() -> None:
    graph, sizes = made_of(FEATURES), {"batch": 2, "time": 3}

    zeros, constant = (draw(graph, sizes, kind=kind)["features"] for kind in ("zeros", "constant"))

    assert not zeros.any()
    assert constant.all()
    assert np.ptp(constant) == 0


@pytest.mark.parametrize("kind", ["normal", "zeros", "constant"])
def test_an_input_with_a_sample_of_its_own_is_always_drawn_by_it(kind: str) -> None:
    tokens = draw(made_of(TOKENS), {"batch": 4, "time": 9}, kind=kind)["tokens"]

    assert set(np.unique(tokens)) <= {5, 6, 7, 8}


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param((Axis("x", ("batch", 4)),), id="one"),
        pytest.param((FEATURES, TOKENS), id="two"),
        pytest.param((Axis("x", ("batch", "sets", "height", "width")),), id="four"),
    ],
)
def test_every_dynamic_axis_is_traced_above_1_and_tried_at_two_other_sizes(
    inputs: tuple[Axis, ...],
) -> None:
    graph = made_of(*inputs)

    sizes = sizes_for(graph)

    assert set(sizes.traced) == set(dynamic_axes(graph))
    assert len(set(sizes.traced.values())) == len(sizes.traced)
    for name, traced in sizes.traced.items():
        others = {other[name] for other in sizes.others}
        assert traced >= 2
        assert len(others - {traced}) >= 2
        assert 1 in others


def test_a_graph_without_dynamic_axes_has_one_size() -> None:
    sizes = sizes_for(made_of(FLAGS))

    assert (sizes.traced, sizes.others) == ({}, ())
