"""What a target wrote is held against what it planned, and nothing leaves the output folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import PluginError, TargetError, UsageError
from convcore.host.guard import guarded
from convcore.host.registry import Registry, load_registry
from convcore.layouts.layout import LayoutMatch
from convcore.targets.target import Artifact, Choice, LedgerEntry, Target, Workspace
from tests.conftest import EXAMPLE

Write = Callable[[Sequence[Artifact], Workspace], Iterator[LedgerEntry]]


def lists(artifact: Artifact) -> Iterator[LedgerEntry]:
    return (LedgerEntry(name, "odd", "written", artifact.path, name) for name in artifact.names)


def writes(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[LedgerEntry]:
    (workspace.folder / artifacts[0].path).write_bytes(b"x")
    yield from lists(artifacts[0])


def writes_nothing(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[LedgerEntry]:
    yield from lists(artifacts[0])


def writes_more(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[LedgerEntry]:
    (workspace.folder / "more.txt").write_bytes(b"x")
    yield from writes(artifacts, workspace)


def registry(write: Write = writes, path: str = "all.odd", **layout: Any) -> Registry:
    def plan(match: LayoutMatch, choice: Choice) -> Iterator[Artifact]:
        names = [name for part in choice.components for name in match.states[part]]
        yield Artifact(path, "odd", "all", dict(zip(names, names, strict=True)), 1)

    known = load_registry()
    odd = guarded(Target("odd", "for a test", plan, write), "a_test")
    cyclegan = attrs.evolve(known.layouts["cyclegan"], **layout)
    layouts = {**known.layouts, "cyclegan": cyclegan}
    return attrs.evolve(known, targets={**known.targets, "odd": odd}, layouts=layouts)


def run(known: Registry, folder: Path) -> None:
    convert(Request(EXAMPLE, folder / "out", ("odd",)), known)


def test_a_target_that_keeps_to_its_plan_is_published(tmp_path: Path) -> None:
    run(registry(), tmp_path)

    assert (tmp_path / "out/all.odd").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (writes_nothing, "wrote no all.odd, which it had planned"),
        (writes_more, "wrote more.txt, which it had not planned"),
    ],
)
def test_a_target_that_does_not_is_refused(write: Write, said: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=said):
        run(registry(write), tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "sub/evil", "/evil", "..", ".", "", "a\\b", "a\0b"])
def test_no_file_is_planned_outside_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises((TargetError, PluginError)):
        run(registry(path=name), tmp_path)
    with pytest.raises((TargetError, PluginError)):
        run(registry(documents=lambda match: {name: {}}), tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [object(), float("nan"), {1, 2}], ids=["object", "nan", "set"])
def test_a_document_that_is_no_json_is_a_fault_of_its_layout(
    content: object, tmp_path: Path
) -> None:
    with pytest.raises(TargetError, match=r"content of notes\.json is no JSON"):
        run(registry(documents=lambda match: {"notes.json": {"a": content}}), tmp_path)


def test_a_document_cannot_take_the_manifest_s_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two outputs would have one name"):
        run(registry(documents=lambda match: {"manifest.json": {}}), tmp_path)


def test_what_a_target_does_not_read_back_is_nobody_s_reference(tmp_path: Path) -> None:
    known = registry()
    report = convert(Request(EXAMPLE, tmp_path / "out", ("odd", "pth")), known)

    plan = report.plan

    assert plan.written(tmp_path / "out", "all") is None
    file, tensors = plan.written(tmp_path / "out", "generator_AB")
    assert file == "generator_AB.pth"
    assert tensors.keys() == plan.match.states["generator_AB"].keys()
