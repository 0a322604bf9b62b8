"""Wrong graphs: a right file is exported once, then edited in every way that could go wrong."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from convcore.layouts.graph import Axis, Graph
from convcore.targets.check import Check
from convcore.verification.parity import compare
from convcore_onnx.exporting import export, quiet
from convcore_onnx.surgery import IR_VERSION, name_axes, optimise

ROWS = 50


class Everything(nn.Module):
    """An embedding, a convolution, norms, attention over a sequence, and outputs of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.table = nn.Embedding(ROWS, 6)
        self.mix = nn.Conv2d(1, 4, 3, padding=1)
        self.joined = nn.Linear(24, 8)
        self.fixed = nn.BatchNorm1d(8)
        self.norm = nn.LayerNorm(8)
        self.query, self.key = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.head = nn.Linear(8, 5)
        self.pick = nn.Linear(8, 7)
        with torch.no_grad():
            self.norm.weight.normal_(1, 0.1)
            self.norm.bias.normal_(0, 0.1)
            self.head.bias.zero_()
            self.fixed.running_mean.normal_()
            self.fixed.running_var.uniform_(0.5, 2)
            self.head.weight[3] *= 4000
            self.head.weight[4] *= 0.02

    def forward(self, ids: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        steps = self.table(ids) + x
        image = self.mix(steps.unsqueeze(1)).permute(0, 2, 1, 3).flatten(2)
        rows = self.joined(image)
        rows = self.fixed(rows.flatten(0, 1)).view(rows.shape)
        rows = nn.functional.leaky_relu(self.norm(rows), 0.1)
        scores = self.query(rows) @ self.key(rows).transpose(1, 2) * 0.25
        seen = scores.softmax(-1) @ rows
        pooled = seen.mean(1)
        return self.head(pooled), self.pick(pooled).argmax(-1), torch.sigmoid(seen) * 1e-6


GRAPH = Graph(
    "g",
    "part",
    (Axis("ids", ("batch", "time"), "int64"), Axis("x", ("batch", "time", 6))),
    (Axis("y", ("batch", 5)), Axis("best", ("batch",), "int64"), Axis("s", ("batch", "time", 8))),
    Everything,
)


@attrs.frozen
class Right:
    """A network, what torch exported of it, and the file that is right."""

    module: nn.Module
    program: ir.Model
    model: onnx.ModelProto

    def held(self, model: onnx.ModelProto, path: Path) -> Check:
        onnx.save(model, path)
        return compare(self.module, path, GRAPH, program=self.program)


@pytest.fixture(scope="module")
def right() -> Right:
    module = Everything().eval().requires_grad_(False)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = export(module, GRAPH, 20).model
        model = program.clone()
        optimise(model)
        name_axes(model, GRAPH)
    model.ir_version = IR_VERSION
    return Right(module, program, ir.to_proto(model))


Edit = Callable[[onnx.ModelProto], None]
EDITS: dict[str, Edit] = {}


def edit(name: str) -> Callable[[Edit], Edit]:
    def keep(made: Edit) -> Edit:
        EDITS[name] = made
        return made

    return keep


def tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """The initializer of a name; of a weight that was transposed or folded, the one of its size."""
    for one in model.graph.initializer:
        if one.name == name:
            return one
    size = {k: v.numel() for k, v in Everything().state_dict().items()}[name]
    return next(
        one
        for one in model.graph.initializer
        if one.data_type == TensorProto.FLOAT and np.prod(one.dims) == size
    )


def change(model: onnx.ModelProto, name: str, how: Callable[[np.ndarray], np.ndarray]) -> None:
    one = tensor(model, name)
    value = how(numpy_helper.to_array(one).copy())
    one.CopyFrom(numpy_helper.from_array(value.astype(np.float32), one.name))


def node(model: onnx.ModelProto, kind: str, place: int = 0) -> onnx.NodeProto:
    return [one for one in model.graph.node if one.op_type == kind][place]


def insert(model: onnx.ModelProto, output: str, kind: str, *more: np.ndarray) -> None:
    """Put an operation before an output of the graph."""
    inner = f"{output}_inner"
    for each in model.graph.node:
        each.output[:] = [inner if name == output else name for name in each.output]
        each.input[:] = [inner if name == output else name for name in each.input]
    names = []
    for place, value in enumerate(more):
        names.append(f"{output}_planted{place}")
        model.graph.initializer.append(numpy_helper.from_array(value, names[-1]))
    model.graph.node.append(helper.make_node(kind, [inner, *names], [output]))


def zeroed(place: int) -> Callable[[np.ndarray], np.ndarray]:
    def how(value: np.ndarray) -> np.ndarray:
        value[place] = 0
        return value

    return how


FLOATS = [
    "table.weight", "mix.weight", "mix.bias", "joined.weight", "joined.bias", "norm.weight",
    "norm.bias", "query.weight", "query.bias", "key.weight", "head.weight", "pick.weight",
    "pick.bias",
]  # fmt: skip

for _name in FLOATS:
    EDITS[f"{_name}-scaled-by-1-percent"] = lambda m, n=_name: change(m, n, lambda v: v * 1.01)
    EDITS[f"{_name}-one-value-off-by-1e-4"] = lambda m, n=_name: change(
        m, n, lambda v: v + np.eye(1, v.size, v.size // 2).reshape(v.shape).astype("f4") * 1e-4
    )
    EDITS[f"{_name}-first-channel-zeroed"] = lambda m, n=_name: change(m, n, zeroed(0))
for _channel in range(5):
    EDITS[f"channel-{_channel}-of-y-zeroed"] = lambda m, c=_channel: insert(
        m, "y", "Mul", np.where(np.arange(5) == c, 0, 1).astype("f4")
    )
    EDITS[f"channel-{_channel}-of-y-scaled-by-0.1-percent"] = lambda m, c=_channel: insert(
        m, "y", "Mul", np.where(np.arange(5) == c, 1.001, 1).astype("f4")
    )
for _row in (0, 7, 49):
    EDITS[f"row-{_row}-of-the-embedding-zeroed"] = lambda m, r=_row: change(
        m, "table.weight", zeroed(r)
    )


@edit("48-of-50-rows-zeroed")
def rows_zeroed(model: onnx.ModelProto) -> None:
    change(model, "table.weight", lambda v: np.where(np.arange(ROWS)[:, None] < 2, v, 0))


@edit("a-square-kernel-transposed")
def kernel(model: onnx.ModelProto) -> None:
    change(model, "mix.weight", lambda v: v.swapaxes(2, 3))


@edit("a-square-weight-transposed")
def weight(model: onnx.ModelProto) -> None:
    change(model, "query.weight", lambda v: v.T)


@edit("softmax-over-another-axis")
def softmax(model: onnx.ModelProto) -> None:
    node(model, "Softmax").attribute[0].i = 1


@edit("epsilon-smaller")
def epsilon(model: onnx.ModelProto) -> None:
    next(a for a in node(model, "LayerNormalization").attribute if a.name == "epsilon").f = 1e-6


@edit("slope-of-leaky-relu")
def slope(model: onnx.ModelProto) -> None:
    node(model, "LeakyRelu").attribute[0].f = 0.1001


@edit("a-bias-of-zeros-that-is-1e-12")
def no_longer_zero(model: onnx.ModelProto) -> None:
    """The right file leaves this bias out, because it adds zeros."""
    one = next(each for each in model.graph.node if "head.weight" in each.input)
    assert (one.op_type, len(one.input)) == ("Gemm", 2)
    model.graph.initializer.append(numpy_helper.from_array(np.full(5, 1e-12, "f4"), "head.bias"))
    one.input.append("head.bias")


@edit("a-bias-left-out")
def bias_left_out(model: onnx.ModelProto) -> None:
    for one in model.graph.node:
        if "pick.bias" in one.input:
            del one.input[2]


@edit("an-integer-off-by-one")
def off_by_one(model: onnx.ModelProto) -> None:
    insert(model, "best", "Add", np.array(1, "i8"))


@edit("an-integer-off-by-three")
def off_by_three(model: onnx.ModelProto) -> None:
    insert(model, "best", "Add", np.array(3, "i8"))


@edit("zeros-for-outputs-near-1e-6")
def near_zero(model: onnx.ModelProto) -> None:
    insert(model, "s", "Mul", np.array(0, "f4"))


@edit("a-clip-that-no-input-reaches")
def clip(model: onnx.ModelProto) -> None:
    insert(model, "s", "Min", np.array(1.0, "f4"))


@edit("a-relu-that-no-input-shows")
def relu(model: onnx.ModelProto) -> None:
    insert(model, "s", "Relu")


@edit("wrong-from-a-batch-of-9-on")
def frozen(model: onnx.ModelProto) -> None:
    """Only the first 8 rows are computed; the others repeat the last of them."""
    graph = model.graph
    for name, value in (("lo", 0), ("hi", 8), ("last", 7)):
        graph.initializer.append(
            numpy_helper.from_array(np.array([value], "i8"), f"planted_{name}")
        )
    graph.initializer.append(numpy_helper.from_array(np.array(0, "i8"), "planted_from"))
    graph.initializer.append(numpy_helper.from_array(np.array(1, "i8"), "planted_step"))
    graph.initializer.append(numpy_helper.from_array(np.array(7, "i8"), "planted_most"))
    for each in graph.node:
        each.output[:] = ["y_inner" if name == "y" else name for name in each.output]
    graph.node.extend(
        [
            helper.make_node("Shape", ["y_inner"], ["y_rows"], start=0, end=1),
            helper.make_node("Squeeze", ["y_rows"], ["y_count"]),
            helper.make_node("Range", ["planted_from", "y_count", "planted_step"], ["y_all"]),
            helper.make_node("Min", ["y_all", "planted_most"], ["y_first"]),
            helper.make_node("Gather", ["y_inner", "y_first"], ["y"]),
        ]
    )


def test_the_right_graph_passes_as_proved(right: Right, tmp_path: Path) -> None:
    check = right.held(copy.deepcopy(right.model), tmp_path / "g.onnx")

    assert check.passed, check.figures
    assert check.figures["proved"], check.figures["unproved"]


def test_there_are_at_least_sixty() -> None:
    assert len(EDITS) >= 60


@pytest.mark.parametrize("name", EDITS)
def test_a_wrong_graph_never_passes_as_proved(right: Right, tmp_path: Path, name: str) -> None:
    model = copy.deepcopy(right.model)
    EDITS[name](model)
    assert model != right.model

    check = right.held(model, tmp_path / "g.onnx")

    assert not (check.passed and check.figures["proved"]), check.figures
