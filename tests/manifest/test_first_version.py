"""What the first version wrote is read by every command, and added to by none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from convcore import convert, diff, verify
from convcore.errors import SourceError, UsageError
from convcore.manifest import document
from convcore.targets.check import CheckKind
from tests.conftest import ROOT, call

FIRST = ROOT / "tests/data/outputs/schema_1"
MODELS = ROOT / "examples/etm/models"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIRST, tmp_path / "out"))


def test_it_is_verified_and_its_graph_is_run() -> None:
    checks = {check.kind: check for check in verify(FIRST)}

    assert all(check.passed for check in checks.values())
    assert checks[CheckKind.PARITY].skipped is None
    assert checks[CheckKind.PARITY].file == "color_encoder.onnx"


def test_a_changed_byte_of_it_is_found(first: Path) -> None:
    path = first / "best_color_encoder.pth"
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    assert not all(check.passed for check in verify(first))


def test_it_is_explained_and_compared(tmp_path: Path) -> None:
    convert(MODELS, tmp_path / "new", components="color_encoder")

    told = call("explain", FIRST, "--tensor", "color_encoder.0.weight", "--json").json

    assert {row["file"] for row in told["ledger"]} == {
        "best_color_encoder.pth", "color_encoder.onnx",
    }  # fmt: skip
    assert diff(FIRST, tmp_path / "new")["identical"]


def test_adding_to_it_asks_for_a_new_conversion(first: Path) -> None:
    before = {path.name: path.read_bytes() for path in first.iterdir()}

    with pytest.raises(UsageError, match="schema version 1, this convcore writes 2") as caught:
        convert(MODELS, first, "safetensors", components="color_encoder", add=True)

    assert caught.value.exit_code == 2
    assert "convert the checkpoint again" in caught.value.remedy
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before


def test_it_is_replaced(first: Path) -> None:
    (first / "NOTES.txt").write_text("mine")

    convert(MODELS, first, overwrite=True)

    assert document.load(first).schema_version == 2
    assert (first / "NOTES.txt").read_text() == "mine"
    assert torch.load(first / "best_decoder.pth", weights_only=True)


def test_what_the_first_version_did_not_know_is_refused_in_it(first: Path) -> None:
    content = json.loads((first / "manifest.json").read_text())
    (first / "manifest.json").write_text(json.dumps({**content, "artifacts": []}))

    with pytest.raises(SourceError, match="artifacts is not known in schema 1"):
        document.load(first)
