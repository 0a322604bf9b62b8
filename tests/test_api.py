"""The Python interface: the commands' options, errors and results, and not a word printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import convcore
from convcore.manifest.document import load
from tests.conftest import call


def test_inspect_gives_what_the_command_prints(example: Path) -> None:
    found = convcore.inspect(example, tensors=True)

    assert found.document == call("inspect", example, "--tensors", "--json").json
    assert found.layout is not None
    assert found.layout.name == "cyclegan"
    assert found.value("input_dim") == found.sizes["d"]


def test_an_unknown_model_is_told_by_its_networks_and_prefixes(tmp_path: Path) -> None:
    torch.save({"a.w": torch.ones(2), "a.b": torch.ones(1), "c": torch.ones(3)}, tmp_path / "x.pt")

    found = convcore.inspect(tmp_path / "x.pt")

    assert found.layout is None
    assert {name: list(state) for name, state in found.states.items()} == {
        "model": ["a.w", "a.b", "c"]
    }
    assert [part["name"] for part in found.document["prefixes"]] == ["a", "c"]
    assert any("no known layout" in line for line in found.evidence)


def test_convert_writes_what_its_report_says_and_prints_nothing(
    example: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = convcore.convert(example, tmp_path / "out", "pth", no_discriminators=True)

    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [file["sha256"] for file in manifest["files"]] == [file.sha256 for file in report.files]
    assert report.manifest == load(tmp_path / "out")
    assert {file.component for file in report.files if file.target} == {
        "generator_AB",
        "generator_BA",
    }
    assert capfd.readouterr() == ("", "")


def test_tensors_are_read_when_they_are_asked_for(example: Path) -> None:
    checkpoint = convcore.open_checkpoint(example)

    state = torch.load(example, weights_only=True)["state_dict"]
    assert set(checkpoint.tensors) == set(state)
    name = next(iter(state))
    assert torch.equal(checkpoint.tensors[name].load(), state[name])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"targets": "pht"}, convcore.UsageError),
        ({"overwrite": True, "add": True}, convcore.UsageError),
        ({"layout": "etm"}, convcore.LayoutError),
        ({"components": {"a": "nothing."}}, convcore.UsageError),
        ({"components": {"a": "generator_AB", "b": "generator_AB"}}, convcore.UsageError),
        ({"verify": "frob"}, convcore.UsageError),
        ({"targets": ()}, convcore.UsageError),
        ({"atol": "small"}, convcore.UsageError),
    ],
    ids=str,
)
def test_a_fault_is_raised_as_the_command_exits(
    example: Path, tmp_path: Path, options: dict, error: type[Exception]
) -> None:
    with pytest.raises(error):
        convcore.convert(example, tmp_path / "out", **options)

    assert not (tmp_path / "out").exists()


def test_one_component_may_be_named_as_text(example: Path, tmp_path: Path) -> None:
    convcore.convert(example, tmp_path / "out", components="generator_AB")

    assert [path.name for path in (tmp_path / "out").glob("*.pth")] == ["generator_AB.pth"]


def test_a_broken_plugin_is_a_python_warning(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[convcore.plugins]\nbroken = not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.warns(convcore.PluginWarning, match="plugin broken is set aside"):
        convcore.inspect(example)
