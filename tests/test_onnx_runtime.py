"""onnxruntime reports to nobody and prints nothing by itself, wherever it is used."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from convcore import onnx_runtime
from convcore.layouts.graph import Axis, Graph
from convcore.verification.parity import compare

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("convcore/**/*.py"), *ROOT.glob("plugins/**/*.py")])
TEMPLATES = sorted([*ROOT.glob("convcore/**/*.jinja"), *ROOT.glob("plugins/**/*.jinja")])
OFF = 'os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")'
NAME = "\x1b[31mevil\x1b[0m\nerror: forged"


class Flat(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten()


def unlucky(path: Path) -> Path:
    """Write a graph that loads and fails at other sizes, in a node with a hostile name."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [4])
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"], name=NAME)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [shape],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def test_a_failing_node_is_told_by_us_escaped_and_printed_by_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = Graph("g", "part", (Axis("x", ("batch",)),), (Axis("y", ("batch",)),), Flat)

    check = compare(Flat(), unlucky(tmp_path / "g.onnx"), graph)

    (problem,) = check.figures["problems"]
    assert not check.passed
    assert r"\x1b[31mevil\x1b[0m\nerror: forged" in problem
    assert problem.isprintable()
    assert capfd.readouterr() == ("", "")


def test_what_onnxruntime_raises_for_a_bad_file_is_known(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"not a model")

    with pytest.raises(onnx_runtime.errors()):
        onnx_runtime.session(tmp_path / "g.onnx")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_module_imports_onnxruntime(path: Path) -> None:
    guarded = {
        inner
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in map(ast.unparse, node.body)
    }
    statements = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and "onnxruntime" in ast.unparse(node)
    ]

    assert set(statements) <= guarded or path.name == "onnx_runtime.py"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_that_is_written_switches_the_telemetry_off_before_it_imports(path: Path) -> None:
    before, imported, _ = path.read_text().partition("import onnxruntime")

    assert not imported or OFF in before


def test_a_session_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "g.onnx")
    (tmp_path / "home").mkdir()
    program = (
        "import sys, numpy as np; from pathlib import Path; from convcore import onnx_runtime\n"
        "session = onnx_runtime.session(Path(sys.argv[1]))\n"
        "print(session.run(None, {'x': np.array([-1, 2], np.float32)})[0].tolist())"
    )
    known = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}

    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "g.onnx"],
        capture_output=True, text=True, timeout=60, check=True,
        env={**known, "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": ""},
    )  # fmt: skip

    assert np.array_equal(ast.literal_eval(done.stdout), [0, 2])
    assert list((tmp_path / "home").iterdir()) == []
