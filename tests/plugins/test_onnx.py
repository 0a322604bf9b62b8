"""The onnx target: what is written, what is refused, and that nothing leaks or is left behind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import ConvcoreError, LayoutError, TargetError, UsageError, VerificationError
from convcore.host.registry import load_registry
from convcore.layouts.graph import Axis, Graph
from convcore.layouts.matching import match_layout
from convcore.sources.reading import read_checkpoint
from convcore.targets.report import Plan, Step
from convcore.targets.target import Choice, Workspace
from convcore_onnx import planning
from tests import small_layouts as small
from tests.plugins import cyclegan_checkpoints as made
from tests.small_layouts import graph

REGISTRY = load_registry()
NORMAL = {"mean_a": [0.5] * 6, "std_a": [2.0] * 6, "mean_b": [-1.0] * 6, "std_b": [0.5] * 6}


class Net(nn.Module):
    """A network that can differ from another of its class by things that are no weights."""

    def __init__(self, slope: float = 0.2, shift: float = 0.0, size: int = 3) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, size), nn.Linear(size, 3)
        self.slope = slope
        self.register_buffer("shift", torch.tensor([shift]), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(nn.functional.leaky_relu(self.first(x), self.slope)) + self.shift


class Tied(Net):
    """Tied where asked for: both layers are then one."""

    def __init__(self, tied: bool) -> None:
        super().__init__(size=4)
        self.second = self.first if tied else nn.Linear(4, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x)))


class Kept(Net):
    """Keeps a tensor as a plain attribute, which no state dict shows."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = torch.tensor([factor])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * self.factor


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "normalization_params.json").write_text(json.dumps(NORMAL))
    return made.save(tmp_path, made.current())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint and of what became of it, ``out``; only to be read."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "normalization_params.json").write_text(json.dumps(NORMAL))
    write(made.save(folder, made.current()), folder / "out")
    return folder


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What torch was asked to trace, in order; the real exporter does it."""
    asked: list[str] = []
    real = torch.onnx.export

    def export(module: nn.Module, *given: object, **options: object) -> object:
        asked.append(type(module).__name__)
        return real(module, *given, **options)

    monkeypatch.setattr(torch.onnx, "export", export)
    return asked


def write(checkpoint: Path, output: Path, **options: object) -> Path:
    convert(Request(checkpoint, output, ("onnx",), **options), REGISTRY)
    return output


def ledger(output: Path) -> list[dict]:
    rows = json.loads((output / "manifest.json").read_text())["ledger"]
    return [{"key": row["tensor"], **row} for row in rows]


def initializers(path: Path) -> dict[str, np.ndarray]:
    model = onnx.load(path)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("opset", [None, 17, 18, 22])
def test_files_have_the_opset_asked_for_and_an_ir_version_runtimes_read(
    checkpoint: Path, tmp_path: Path, opset: int | None
) -> None:
    output = write(checkpoint, tmp_path / "out", opset=opset, components=("generator_AB",))

    model = onnx.load(output / "generator_AB.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset or 20)]
    assert model.ir_version <= 10


@pytest.mark.parametrize("opset", [1, 16, 23, 99])
def test_other_opsets_are_refused_before_anything_is_written(
    checkpoint: Path, tmp_path: Path, opset: int, traces: list[str]
) -> None:
    with pytest.raises(TargetError, match=f"opset {opset} is not supported") as caught:
        write(checkpoint, tmp_path / "out", opset=opset)

    assert caught.value.exit_code == 5
    assert "--opset" in caught.value.remedy
    assert traces == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["generator_AB", "generator_BA", "convert_AB", "convert_BA"])
def test_inputs_and_outputs_have_their_names_and_dynamic_axes(kept: Path, name: str) -> None:
    path = kept / "out" / f"{name}.onnx"

    session = onnxruntime.InferenceSession(str(path))

    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("features", ["batch", "time", 6])
    assert (found.name, found.shape) == ("converted", ["batch", "time", 6])


def test_one_trace_serves_all_graphs_of_one_architecture(
    checkpoint: Path, tmp_path: Path, traces: list[str]
) -> None:
    output = write(checkpoint, tmp_path / "out", all_components=True)

    assert traces == ["Generator", "Discriminator"]
    assert len(list(output.glob("*.onnx"))) == 6
    x = np.random.default_rng(1).standard_normal((2, 3, 6)).astype(np.float32)
    found = {
        name: onnxruntime.InferenceSession(str(output / f"{name}.onnx")).run(None, {"features": x})
        for name in ("generator_AB", "generator_BA")
    }
    assert np.abs(found["generator_AB"][0] - found["generator_BA"][0]).max() > 0.1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(Net, lambda: Net(slope=0.3), id="attribute"),
        pytest.param(Net, lambda: Net(shift=1.0), id="unsaved-buffer"),
        pytest.param(Net, lambda: Net(size=5), id="shape"),
        pytest.param(lambda: Tied(tied=True), lambda: Tied(tied=False), id="tied"),
        pytest.param(lambda: Kept(2.0), lambda: Kept(3.0), id="kept-tensor"),
        pytest.param(lambda: nn.Linear(4, 3), lambda: nn.Sequential(nn.Linear(4, 3)), id="class"),
    ],
)
def test_networks_that_differ_by_more_than_weights_are_traced_each(
    tmp_path: Path, traces: list[str], one: Callable, other: Callable
) -> None:
    graphs = graph("one", one), graph("other", other)
    path = small.save(tmp_path / "a.pt", {"one": one(), "other": other()})

    report = convert(
        Request(path, tmp_path / "out", ("onnx",)), small.registry(small.layout(*graphs))
    )

    assert len(traces) == 2
    assert [check.passed for check in report.checks] == [True, True]


def test_networks_that_differ_by_weights_alone_are_traced_once(
    tmp_path: Path, traces: list[str]
) -> None:
    graphs = graph("one", Net), graph("other", Net)
    path = small.save(tmp_path / "a.pt", {"one": Net(), "other": Net()})

    report = convert(
        Request(path, tmp_path / "out", ("onnx",)), small.registry(small.layout(*graphs))
    )

    assert len(traces) == 1
    assert [check.passed for check in report.checks] == [True, True]


def test_batch_norm_is_folded_away(kept: Path) -> None:
    path = kept / "out/convert_AB.onnx"

    kinds = {node.op_type for node in onnx.load(path).graph.node}

    assert "BatchNormalization" not in kinds
    assert {"Sub", "Div", "Mul", "Gemm"} <= kinds


def test_files_say_who_made_them_and_nothing_of_the_machine(kept: Path) -> None:
    path = kept / "out/convert_AB.onnx"

    model = onnx.load(path)

    assert {prop.key: prop.value for prop in model.metadata_props}.items() >= {
        "convcore.layout": "cyclegan",
        "convcore.graph": "convert_AB",
        "convcore.components": "generator_AB",
    }.items()
    parts = [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info]
    assert not any(part.metadata_props or part.doc_string for part in [*parts, model.graph])
    leaks = (b".py", b"/home", bytes(kept), b"torch")
    assert not [word for word in leaks if word in path.read_bytes()]


def test_another_run_writes_the_same_bytes_and_the_exporter_says_nothing(
    kept: Path, tmp_path: Path, convcore: Callable
) -> None:
    words = ("-o", tmp_path / "out", "--to", "onnx", "--json")

    ran = convcore("convert", kept / "last.ckpt", *words)

    assert (ran.code, ran.err) == (0, "")
    assert ran.json["layout"] == "cyclegan"
    files = list((kept / "out").glob("*.onnx"))
    assert len(files) == 4
    assert all(path.read_bytes() == (tmp_path / "out" / path.name).read_bytes() for path in files)


def test_training_graphs_are_written_on_demand_only(
    checkpoint: Path, kept: Path, tmp_path: Path
) -> None:
    parts = ("discriminator_A", "discriminator_B")

    output = write(checkpoint, tmp_path / "out", components=parts, all_components=True)

    assert not list((kept / "out").glob("discriminator*"))
    assert {path.name for path in output.glob("*.onnx")} == {f"{part}.onnx" for part in parts}


def test_a_chosen_component_brings_its_own_graphs_only(checkpoint: Path, tmp_path: Path) -> None:
    output = write(checkpoint, tmp_path / "out", components=("generator_BA",))

    assert {path.name for path in output.glob("*.onnx")} == {"generator_BA.onnx", "convert_BA.onnx"}


def test_components_without_a_graph_of_their_own_are_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        write(checkpoint, tmp_path / "out", components=("discriminator_A",))

    assert "--all-components" in caught.value.remedy


def test_a_layout_without_graphs_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="the layout plain has no graphs"):
        write(checkpoint, tmp_path / "out", layout="plain")


def test_keys_that_no_network_has_are_refused_and_travel_in_weight_files(tmp_path: Path) -> None:
    state = made.current() | {"generator_AB.gate": torch.ones(2)}
    path = made.save(tmp_path, state)

    with pytest.raises(TargetError, match=r"generator_AB\.gate"):
        write(path, tmp_path / "out")
    convert(Request(path, tmp_path / "out"), REGISTRY)

    assert "gate" in torch.load(tmp_path / "out/generator_AB.pth", weights_only=True)


@pytest.mark.parametrize(
    ("missing", "kind", "remedy"),
    [
        pytest.param((), TargetError, "--component fine", id="for-good"),
        pytest.param(("heads",), LayoutError, "--config heads=", id="for-want-of-a-setting"),
    ],
)
def test_a_refused_graph_is_refused_with_its_reason(
    tmp_path: Path, missing: tuple[str, ...], kind: type[ConvcoreError], remedy: str
) -> None:
    poor = graph("poor", Net, refusal="nobody knows its heads", missing=missing)
    graphs = graph("fine", Net), poor
    path = small.save(tmp_path / "a.pt", {"fine": Net(), "poor": Net()})

    with pytest.raises(kind) as caught:
        convert(Request(path, tmp_path / "out", ("onnx",)), small.registry(small.layout(*graphs)))

    assert "nobody knows its heads" in caught.value.what
    assert remedy in caught.value.remedy


class Noisy(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.randn_like(x[:, :3])


class Deciding(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)) if x.sum() > 0 else self.first(x)


class Frozen(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).mean(0, keepdim=True).expand(2, 3)


class Clipped(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:2]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        pytest.param(Noisy, "random nodes: RandomNormal", id="random"),
        pytest.param(Deciding, "torch could not export net", id="decides-by-values"),
        pytest.param(Frozen, r"output y has shape \[2, 3\]", id="frozen-axis"),
    ],
)
def test_graphs_that_cannot_be_right_are_refused(
    tmp_path: Path, network: Callable, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    net = graph("net", network)
    path = small.save(tmp_path / "a.pt", {"net": network()})

    with pytest.raises(TargetError, match=said) as caught:
        convert(Request(path, tmp_path / "out", ("onnx",)), small.registry(small.layout(net)))

    assert len(caught.value.what) < 500
    assert not (tmp_path / "out").exists()
    assert capfd.readouterr() == ("", "")


def test_a_network_whose_outputs_are_not_as_declared_is_not_proved(tmp_path: Path) -> None:
    net = graph("net", Clipped)
    path = small.save(tmp_path / "a.pt", {"net": Clipped()})

    with pytest.raises(VerificationError) as caught:
        convert(Request(path, tmp_path / "out", ("onnx",)), small.registry(small.layout(net)))

    assert "the network gives y as (2, 3), declared is (5, 3)" in str(caught.value.as_dict())


def test_every_tensor_is_accounted_for_once(kept: Path) -> None:
    state = torch.load(kept / "last.ckpt", weights_only=True)["state_dict"]
    files = {path.name: initializers(path) for path in (kept / "out").glob("*.onnx")}

    rows = [row for row in ledger(kept / "out") if row["tensor"]]

    assert Counter(row["tensor"] for row in rows) == Counter(dict.fromkeys(state, 1))
    for row in rows:
        unused = "num_batches" in row["tensor"] or "discriminator" in row["tensor"]
        assert (row["state"] == "dropped") is unused
        for place in [row, *row.get("also", ())]:
            if place["state"] == "written":
                there = files[place["file"]][place["key"]]
                assert np.array_equal(there, state[row["tensor"]].numpy())
            else:
                assert place["state"] in ("folded", "dropped")
    assert sum(row["state"] == "written" for row in rows) == 4


def test_every_initializer_names_its_source_or_is_a_constant(kept: Path) -> None:
    rows = ledger(kept / "out")

    named = {(place["file"], place["key"]) for row in rows for place in [row, *row.get("also", ())]}

    files = list((kept / "out").glob("*.onnx"))
    assert {(path.name, name) for path in files for name in initializers(path)} <= named


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_cast_and_the_ledger_says_so(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    net = graph("net", Net)
    path = small.save(tmp_path / "a.pt", {"net": Net().to(dtype)})

    report = convert(Request(path, tmp_path / "out", ("onnx",)), small.registry(small.layout(net)))

    states = {row.state for row in report.manifest.ledger if row.tensor}
    assert states == {"cast"}
    kind = str(dtype).removeprefix("torch.")
    (told,) = [said for said in report.manifest.evidence if "cast" in said]
    assert told == f"net: 4 tensors of {kind} cast to float32"
    assert all(check.passed for check in report.checks)


def test_large_graphs_keep_their_weights_in_a_file_of_their_own(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "EXTERNAL_ABOVE", 1000)

    output = write(checkpoint, tmp_path / "out", components=("generator_AB",))

    files = {path.name for path in output.glob("*.onnx*")}
    assert "generator_AB.onnx_data" in files
    model = onnx.load(output / "generator_AB.onnx", load_external_data=False)
    where = {
        e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"
    }
    assert where == {"generator_AB.onnx_data"}
    listed = {file["path"] for file in json.loads((output / "manifest.json").read_text())["files"]}
    assert files <= listed


def test_a_tolerance_that_is_not_met_fails_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(VerificationError):
        write(checkpoint, tmp_path / "out", atol=0.0)

    assert not (tmp_path / "out").exists()


def test_the_weights_that_are_proved_are_those_that_were_written(
    checkpoint: Path, tmp_path: Path
) -> None:
    match = match_layout(read_checkpoint(checkpoint, REGISTRY), REGISTRY)
    steps = []
    for target in (REGISTRY.targets[name] for name in ("pth", "onnx")):
        choice = Choice(("generator_AB",), options=target.settled({}))
        steps.append(Step(target, target.plans(match, choice), choice))
    plan = Plan(match, choice, tuple(steps))
    workspace = Workspace(tmp_path, match, choice, partial(plan.written, tmp_path))
    for step in steps:
        list(step.target.write(step.artifacts, workspace))
    state = torch.load(tmp_path / "generator_AB.pth", weights_only=True)
    state["decoder.8.bias"] += 0.01
    torch.save(state, tmp_path / "generator_AB.pth")

    checks = list(steps[1].target.check(steps[1].artifacts, workspace))

    assert [check.figures["reference"] for check in checks] == [["generator_AB.pth"]] * 2
    assert not any(check.passed for check in checks)


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    both = attrs.evolve(
        graph("net", Crossed),
        inputs=(Axis("left", ("batch", 4)), Axis("ids", ("batch", 2), "int64")),
        outputs=(Axis("total", ("batch", 4)), Axis("picked", ("batch", 2, 4))),
    )
    path = small.save(tmp_path / "a.pt", {"net": Crossed()})

    convert(Request(path, tmp_path / "out", ("onnx",)), small.registry(small.layout(both)))

    session = onnxruntime.InferenceSession(str(tmp_path / "out/net.onnx"))
    assert [given.name for given in session.get_inputs()] == ["left", "ids"]
    assert [found.name for found in session.get_outputs()] == ["total", "picked"]


class Crossed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(2, 4)

    def forward(self, left: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        picked = self.table(ids)
        return left + picked.sum(1), picked


def test_weights_may_be_written_twice_from_one_component(tmp_path: Path) -> None:
    """Two graphs of one component, of different networks, each account for its tensors."""
    plain = graph("plain", Net, "net")
    steep = Graph("steep", "net", plain.inputs, plain.outputs, lambda: Net(slope=0.5))
    path = small.save(tmp_path / "a.pt", {"net": Net()})

    report = convert(
        Request(path, tmp_path / "out", ("onnx",)), small.registry(small.layout(plain, steep))
    )

    rows = [row for row in report.manifest.ledger if row.tensor]
    assert {row.file for row in rows} == {"plain.onnx"}
    assert {place.file for row in rows for place in row.also} == {"steep.onnx"}
