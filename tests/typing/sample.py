"""Uses every public name as its users do; only type-checked, never run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import convcore
from convcore import (
    Affine,
    Archive,
    Artifact,
    Axis,
    Check,
    Checkpoint,
    Choice,
    Component,
    ConvcoreError,
    Graph,
    Input,
    Inspection,
    Layout,
    LayoutError,
    LayoutMatch,
    LazyTensor,
    LedgerEntry,
    Opaque,
    PluginError,
    PluginWarning,
    Reopened,
    Report,
    Schema,
    Session,
    Setting,
    Settler,
    Source,
    SourceError,
    Target,
    TargetError,
    TargetOption,
    TensorSpec,
    UsageError,
    VerificationError,
    Workspace,
    WrittenFile,
    hookimpl,
    layouts_from_toml,
)
from convcore.formats.budgets import Budgets
from convcore.sources import make_checkpoint, state_dict_of
from convcore.targets import weights
from convcore.testing import LayoutSuite, SourceSuite, TargetSuite


def schema(tensors: Mapping[str, TensorSpec]) -> Schema:
    return Schema({key: tensors[key].shape for key in tensors}, optional=["a.bias"])


def configure(match: LayoutMatch, settler: Settler) -> None:
    settler.from_shape("width", match.sizes["D"], settler.hyper_parameters.get("width"))
    settler.from_option("height", int)


def graphs(match: LayoutMatch) -> Iterator[Graph]:
    def network() -> Any:
        raise NotImplementedError

    x = Axis("x", ("batch", match.sizes["D"]))
    around = Affine((0.0,), (1.0,), (0.0,), (1.0,))
    yield Graph("a", "a", [x], [x], network, affine=around)


@hookimpl
def convcore_layouts() -> Iterable[Layout]:
    parts = [Component("a", "a."), Component("b", ("b.", "c"), role="training", required=False)]
    here = layouts_from_toml(Path("layout.toml"))
    return [Layout("sample", "a sample", parts, schema, configure, graphs), *here]


def read(given: Input) -> Checkpoint | None:
    archive: Archive | None = given.archive
    tree = archive.tree if archive else None
    tensors = state_dict_of(tree)
    if isinstance(tree, Opaque) or not tensors:
        raise SourceError("no state dict", seen=["an opaque object"], remedy="save another")
    return make_checkpoint(given, tensors, source="sample")


@hookimpl
def convcore_sources() -> list[Source]:
    return [Source("sample", "a sample", read, refines={"state-dict"})]


def plan(match: LayoutMatch, choice: Choice) -> Iterator[Artifact]:
    for component in choice.components:
        names = weights.local_names(match, component)
        tensors: dict[str, LazyTensor] = {k: match.checkpoint.tensors[n] for k, n in names.items()}
        yield Artifact(f"{component}.x", "sample", component, names, 9, plan=tensors)


def write(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[LedgerEntry]:
    for made in artifacts:
        descriptor = weights.create(workspace.folder / made.path)
        for first, _ in weights.groups(made.plan):
            weights.copy(made.plan[first], descriptor)
            yield LedgerEntry(made.names[first], "sample", "written", made.path, first)


def check(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[Check]:
    for made in artifacts:
        yield weights.prove_bytes(workspace.folder / made.path, {}, made.plan)


def reopen(folder: Path, artifact: Artifact) -> Mapping[str, LazyTensor]:
    return weights.lying(folder / artifact.path, {"w": (TensorSpec("float32", (2,)), 0)})


def recheck(artifacts: Sequence[Artifact], output: Reopened) -> Iterator[Check]:
    for made in artifacts:
        yield Check(made.path, "looked at", bool(output.rows))


@hookimpl
def convcore_targets() -> list[Target]:
    level = TargetOption("level", "how well", int, 3)
    made = Target(
        "sample", "a sample", plan, write, check, reopen, recheck, "numpy", options=[level]
    )
    return [made]


@hookimpl
def convcore_converted(report: Report) -> None:
    files: tuple[WrittenFile, ...] = report.files
    print(report.output, len(files))


class TestSample(LayoutSuite):
    layout = "sample"
    config = {"height": "3"}  # noqa: RUF012 # written as its users write it

    def make(self, folder: Path) -> Path:
        return folder


class TestSource(SourceSuite):
    source = "sample"


class TestTarget(TargetSuite):
    target = "sample"

    def read(self, path: Path) -> Mapping[str, Any]:
        return {}


def use() -> None:
    found: Inspection = convcore.inspect("last.ckpt", layout_file="layout.toml")
    settings: Mapping[str, Setting] = found.settings
    done: Report = convcore.convert("last.ckpt", Path("out"), ["pth"], components={"a": "a."})
    session = Session(
        disable_plugins=["convcore_umc"],
        budgets=Budgets(shards=4096),
        progress=lambda stage, done, total: None,
    )
    again: Report = session.convert("last.ckpt", "out", "onnx", opset=20, config={"nheads": "8"})
    checks: Sequence[Check] = convcore.verify("out", atol=1e-4)
    same: bool = session.diff("last.ckpt", again.output)["identical"]
    session.convert("last.ckpt", "out", opsett=20)  # type: ignore[call-arg]
    session.convert("last.ckpt", "out", opset="20")  # type: ignore[arg-type]
    tensor: LazyTensor = convcore.open_checkpoint("last.ckpt").tensors["a.weight"]
    errors: list[type[ConvcoreError]] = [
        LayoutError, PluginError, TargetError, UsageError, VerificationError,
    ]  # fmt: skip
    print(settings, done, checks, same, tensor.numpy(), errors, PluginWarning, convcore.__version__)
