from __future__ import annotations

import pytest

from convcore.layouts.layout import Schema
from convcore.layouts.schema import solve
from convcore.tensors import TensorSpec

SHAPES = {
    "fc1.weight": ("H", "D"),
    "fc1.bias": ("H",),
    "norm.weight": ("H",),
    "norm.num_batches_tracked": (),
    "fc2.weight": ("3*H", "H"),
    "half.weight": ("H//2", "H"),
}


def tensors(**changes: tuple[int, ...] | None) -> dict[str, TensorSpec]:
    shapes: dict[str, tuple[int, ...] | None] = {
        "fc1.weight": (8, 5),
        "fc1.bias": (8,),
        "norm.weight": (8,),
        "norm.num_batches_tracked": (),
        "fc2.weight": (24, 8),
        "half.weight": (4, 8),
        **{name.replace("__", "."): shape for name, shape in changes.items()},
    }
    return {name: TensorSpec("float32", s) for name, s in shapes.items() if s is not None}


def test_sizes_are_solved_from_all_tensors() -> None:
    solution = solve(Schema(SHAPES), tensors())

    assert solution.complete
    assert solution.sizes == {"H": 8, "D": 5}


def test_one_misshapen_tensor_is_outvoted_and_named() -> None:
    solution = solve(Schema(SHAPES), tensors(fc1__weight=(9, 5)))

    assert solution.sizes["H"] == 8
    assert solution.misshapen == {"fc1.weight": ((9, 5), (8, 5))}


def test_a_missing_tensor_is_named_with_its_shape() -> None:
    solution = solve(Schema(SHAPES), tensors(fc2__weight=None))

    assert solution.missing == {"fc2.weight": (24, 8)}


def test_counters_and_optional_keys_may_be_absent() -> None:
    given = tensors(norm__num_batches_tracked=None, half__weight=None)

    solution = solve(Schema(SHAPES, {"half.weight"}), given)

    assert solution.complete


def test_another_number_of_axes_is_a_wrong_shape() -> None:
    solution = solve(Schema(SHAPES), tensors(fc1__bias=(8, 1)))

    assert solution.misshapen == {"fc1.bias": ((8, 1), (8,))}


def test_keys_the_schema_does_not_know_are_listed() -> None:
    solution = solve(Schema(SHAPES), tensors(other=(1,)))

    assert solution.complete
    assert solution.extra == ("other",)


def test_half_a_size_speaks_only_when_nothing_else_does() -> None:
    solution = solve(Schema({"w": ("H//2",)}), {"w": TensorSpec("float32", (4,))})

    assert solution.sizes == {"H": 8}


def test_halves_never_outvote_a_tensor_that_shows_the_size_itself() -> None:
    schema = Schema({"w": ("H",), "one": ("H//2",), "two": ("H//2",), "three": ("H//2",)})
    halves = dict.fromkeys(("one", "two", "three"), TensorSpec("float32", (4,)))

    solution = solve(schema, {"w": TensorSpec("float32", (9,)), **halves})

    assert solution.sizes == {"H": 9}  # each half of four would have voted for eight
    assert solution.complete


def test_a_size_written_wrongly_is_the_author_s_error() -> None:
    with pytest.raises(ValueError, match=r"write it as D, 3\*D or D//2"):
        solve(Schema({"w": ("D+1",)}), {"w": TensorSpec("float32", (4,))})
