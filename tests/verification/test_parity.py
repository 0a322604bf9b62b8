"""Parity sees every kind of difference between a network and an ONNX file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from convcore.layouts.graph import Axis, Graph
from convcore.verification.numerics import Tolerance, measure
from convcore.verification.parity import compare

GRAPH = Graph("g", "part", (Axis("x", ("batch", 4)),), (Axis("y", ("batch", 3)),), lambda: NET)
torch.manual_seed(7)
NET = nn.Linear(4, 3).eval().requires_grad_(False)


def onnx_file(path: Path, bias: np.ndarray | None = None, rows: int | str = "batch") -> Path:
    """Write ``NET`` by hand, with another bias or another size of the batch axis."""
    weight, own = NET.weight.numpy(), NET.bias.numpy()
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 3])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(own if bias is None else bias.astype(np.float32), "b"),
        ],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def test_the_same_function_passes_with_its_figures(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "g.onnx")

    check = compare(NET, path, GRAPH)

    assert check.passed
    assert (check.file, check.check) == ("g.onnx", "parity")
    assert check.figures["max_abs"] < 1e-6
    assert check.figures["runs"] == 7
    assert check.figures["cosine"] == pytest.approx(1)
    assert (check.figures["nan"], check.figures["inf"]) == (0, 0)


def test_the_figures_are_those_of_the_formulas() -> None:
    reference = np.array([[3.0, -4.0], [0.0, 12.0]])
    found = reference + np.array([[0.3, 0.0], [0.001, -0.4]])

    passed, figures = measure([({"y": reference}, {"y": found})], Tolerance(atol=0.5))

    assert passed
    assert figures["max_abs"] == pytest.approx(0.4)
    assert figures["mean_abs"] == pytest.approx((0.3 + 0.001 + 0.4) / 4)
    assert figures["max_rel"] == pytest.approx(0.3 / 3)  # 0.001 counts against 1e-3 x 12
    assert figures["snr_db"] == pytest.approx(10 * math.log10(169 / (0.09 + 1e-6 + 0.16)))
    cosine = np.vdot(reference, found) / np.linalg.norm(reference) / np.linalg.norm(found)
    assert figures["cosine"] == pytest.approx(cosine)
    assert figures["smallest_tolerance"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("error", "scale", "given", "passes"),
    [
        pytest.param(9e-6, 1.0, Tolerance(), True, id="within-the-default"),
        pytest.param(2e-5, 1.0, Tolerance(), False, id="beyond-the-default"),
        pytest.param(2e-5, 0.01, Tolerance(), False, id="small-values-get-no-smaller-default"),
        pytest.param(9e-4, 100.0, Tolerance(), True, id="default-grows-with-the-reference"),
        pytest.param(2e-3, 100.0, Tolerance(), False, id="and-no-further"),
        pytest.param(2e-3, 100.0, Tolerance(rtol=1e-4), True, id="relative"),
        pytest.param(2e-3, 100.0, Tolerance(atol=1e-3), False, id="absolute"),
    ],
)
def test_the_tolerance_decides(error: float, scale: float, given: Tolerance, passes: bool) -> None:
    reference = np.full(5, scale)

    passed, figures = measure([({"y": reference}, {"y": reference + error})], given)

    assert passed is passes
    again, _ = measure(
        [({"y": reference}, {"y": reference + error})],
        Tolerance(figures["smallest_tolerance"], given.rtol),
    )
    assert again


def test_a_wrong_weight_fails(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "g.onnx", NET.bias.numpy() + 1e-3)

    check = compare(NET, path, GRAPH)

    assert not check.passed
    assert check.figures["max_abs"] == pytest.approx(1e-3, rel=1e-2)


def test_a_frozen_axis_fails(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "g.onnx", rows=2)

    check = compare(NET, path, GRAPH)

    assert not check.passed
    assert "onnxruntime cannot run it" in check.figures["problems"][0]


def test_a_file_that_is_no_onnx_fails(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(b"not a model")

    check = compare(NET, path, GRAPH)

    assert not check.passed


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_in_the_file_alone_fail(tmp_path: Path, value: float) -> None:
    bias = NET.bias.numpy().copy()
    bias[1] = value
    path = onnx_file(tmp_path / "g.onnx", bias)

    check = compare(NET, path, GRAPH)

    assert not check.passed
    assert check.figures["nan"] + check.figures["inf"] > 0


def test_a_network_of_nothing_but_nan_proves_nothing() -> None:
    nothing = np.full((2, 3), np.nan)

    passed, figures = measure([({"y": nothing}, {"y": nothing})], Tolerance())

    assert not passed
    assert figures["problems"] == ["there is no finite number to compare"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param({}, "missing", id="missing"),
        pytest.param({"y": np.zeros((1, 2), np.float32)}, "shape (1, 2)", id="shape"),
        pytest.param({"y": np.zeros(2)}, "float64", id="dtype"),
    ],
)
def test_outputs_of_another_kind_are_problems(found: dict[str, np.ndarray], said: str) -> None:
    passed, figures = measure([({"y": np.zeros(2, np.float32)}, found)], Tolerance())

    assert not passed
    assert said in figures["problems"][0]
    assert figures["smallest_tolerance"] is None
