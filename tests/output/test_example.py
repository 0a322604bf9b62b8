"""The example script runs where convcore is not, and holds nothing of the checkpoint as code."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.host.registry import load_registry
from convcore.layouts.graph import Axis, Graph
from convcore.output.example import literal, render
from convcore.targets.target import Artifact
from tests import small_layouts as small
from tests.conftest import HUNG_AFTER

# Makes every import of convcore and of its plugins fail, as on a machine without them.
ALONE = (
    "import runpy, sys; sys.modules.update(convcore=None, convcore_cyclegan=None);"
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)
HOSTILE = "\"\"\"'''\n\\'); import os; os.abort() #{{ 7 * 7 }}"


def alone(script: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(script)],
        capture_output=True,
        text=True,
        check=True,
        timeout=HUNG_AFTER,
    )
    return done.stdout


def imports(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def constant(source: str, name: str) -> object:
    """The value of a constant of the script, which must be a literal."""
    (value,) = (
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    return ast.literal_eval(value)


def test_the_example_for_onnx_needs_numpy_and_onnxruntime_only(
    example: Path, tmp_path: Path
) -> None:
    request = Request(example, tmp_path / "out", ("pth", "onnx"), create_inference_script=True)
    convert(request, load_registry())
    script = tmp_path / "out/inference_example.py"

    said = alone(script)

    assert imports(script.read_text()) == {"os", "pathlib", "numpy", "onnxruntime"}
    for name in ("generator_AB", "generator_BA", "convert_AB", "convert_BA"):
        assert f"{name}.onnx {{'features': (2, 3, 40)}}" in said
    assert said.count("converted (2, 3, 40) [") == 4


def test_the_example_for_weight_files_brings_the_networks_along(
    example: Path, tmp_path: Path
) -> None:
    convert(Request(example, tmp_path / "out", create_inference_script=True), load_registry())
    script = tmp_path / "out/inference_example.py"

    said = alone(script)

    assert "convcore" not in imports(script.read_text())
    assert said.count("converted (2, 3, 40) [") == 4
    assert said.count("score (2, 3, 1) [") == 2


@pytest.mark.parametrize(
    ("target", "needs"), [("pth", "torch only."), ("safetensors", "torch and safetensors only.")]
)
def test_the_example_says_which_packages_it_needs(
    target: str, needs: str, example: Path, tmp_path: Path
) -> None:
    request = Request(example, tmp_path / "out", (target,), create_inference_script=True)
    convert(request, load_registry())
    script = tmp_path / "out/inference_example.py"

    said = alone(script)

    assert ast.get_docstring(ast.parse(script.read_text())).splitlines()[0].endswith(needs)
    assert said.count("converted (2, 3, 40) [") == 4


class Net(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)


def made(path: str) -> Artifact:
    target, kind = ("onnx", "graph") if path.endswith("onnx") else ("pth", "weights")
    return Artifact(path, target, "net", {}, 0, kind=kind, format=target)


def rendered(tmp_path: Path, graph: Graph, *paths: str) -> str:
    match = small.match(small.save(tmp_path / "a.pt", {"net": Net()}), graph)
    return render(match, [made(path) for path in paths], load_registry().targets)


@pytest.mark.parametrize("name", ["net.pth", "pytorch_model.bin", "start.ckpt"])
def test_weight_files_of_unknown_networks_are_listed(name: str, tmp_path: Path) -> None:
    source = rendered(tmp_path, small.graph("net", Net), name)
    torch.save({"weight": torch.zeros(2, 3), "inner": {"bias": torch.zeros(1)}}, tmp_path / name)
    (tmp_path / "example.py").write_text(source)

    said = alone(tmp_path / "example.py")

    assert "weight (2, 3) torch.float32" in said
    assert "inner.bias (1,) torch.float32" in said


def test_a_graph_s_file_may_be_called_as_its_target_likes(tmp_path: Path) -> None:
    match = small.match(small.save(tmp_path / "a.pt", {"net": Net()}), small.graph("net", Net))
    graph = attrs.evolve(made("net.onnx"), path="model.graph", target="other")

    source = render(match, [graph], {})

    assert [graph["file"] for graph in constant(source, "GRAPHS")] == ["model.graph"]


class Posing:
    """An object whose representation is code."""

    def __repr__(self) -> str:
        return "__import__('os').abort()"


def test_text_of_a_checkpoint_never_becomes_code(tmp_path: Path) -> None:
    graph = small.graph("net", Net, call=("Net", {"name": HOSTILE, "poser": Posing()}))

    source = rendered(tmp_path, graph, "net.pth")

    arguments = constant(source, "NETWORKS")[0]["arguments"]
    assert arguments == {"name": HOSTILE, "poser": repr(Posing())}
    assert imports(source) <= {"__future__", "pathlib", "torch", "safetensors.torch"}


@pytest.mark.parametrize(
    ("size", "kind"),
    [pytest.param(4, "values", id="small"), pytest.param(9000, "between", id="large")],
)
def test_inputs_that_are_legal_only_as_they_were_drawn_keep_that(
    tmp_path: Path, size: int, kind: str
) -> None:
    def minutes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.sort(rng.integers(60, 90, shape), axis=-1)

    axis = Axis("minutes", (size,), "int64", minutes)
    graph = attrs.evolve(small.graph("net", Net), inputs=(axis,))

    source = rendered(tmp_path, graph, "net.onnx")

    described = constant(source, "GRAPHS")[0]["inputs"]["minutes"]
    assert described[kind] == sorted(described[kind])
    assert 60 <= min(described[kind]) <= max(described[kind]) < 90


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(PLAIN)
def test_a_literal_is_read_back_as_what_it_was(value: object) -> None:
    source = literal(value)

    assert ast.literal_eval(source) == value
