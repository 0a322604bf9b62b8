"""``--add``: what stands stays, and files of two trainings never lie in one folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import Ran

Run = Callable[..., Ran]
NORMALISATION = "normalization_params.json"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def retrained(path: Path) -> None:
    """Change a few weights; name and size of the file stay."""
    size = path.stat().st_size
    loaded = torch.load(path, weights_only=False)
    loaded["state_dict"]["generator_AB.encoder.0.weight"] += 1
    torch.save(loaded, path)
    assert path.stat().st_size == size


@pytest.fixture
def checkpoint(example: Path, tmp_path: Path) -> Path:
    loaded = torch.load(example, weights_only=False)
    torch.save(loaded, tmp_path / "last.ckpt")
    shutil.copy(example.with_name(NORMALISATION), tmp_path)
    return tmp_path / "last.ckpt"


@pytest.mark.parametrize("first", ["pth", "onnx"])
def test_another_training_under_the_same_name_is_refused(
    first: str, convcore: Run, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert convcore("convert", checkpoint, "-o", out, "--to", first).code == 0
    before = contents(out)
    retrained(checkpoint)

    ran = convcore("convert", checkpoint, "-o", out, "--to", "safetensors", "--add")

    assert ran.code == 2
    assert "made from other weights" in ran.err
    assert "generator_AB differs" in ran.err
    assert "generator_BA" not in ran.err
    assert contents(out) == before


def test_another_state_dict_of_the_same_file_is_refused(
    convcore: Run, example: Path, tmp_path: Path
) -> None:
    state = torch.load(example, weights_only=False)["state_dict"]
    both = {"model": state, "ema": {key: tensor * 2 for key, tensor in state.items()}}
    torch.save(both, tmp_path / "two.pth")
    words = ("convert", tmp_path / "two.pth", "-o", tmp_path / "out")
    assert convcore(*words, "--key", "model").code == 0

    ran = convcore(*words, "--key", "ema", "--to", "safetensors", "--add")

    assert ran.code == 2
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_graphs_of_another_normalisation_are_not_mixed_in(
    convcore: Run, checkpoint: Path, tmp_path: Path
) -> None:
    words = ("convert", checkpoint, "-o", tmp_path / "out")
    assert convcore(*words, "--to", "onnx").code == 0
    assert convcore(*words, "--to", "pth", "--add").code == 0
    path = checkpoint.with_name(NORMALISATION)
    numbers = json.loads(path.read_text())
    path.write_text(json.dumps({**numbers, "mean_a": [n + 1 for n in numbers["mean_a"]]}))

    ran = convcore(*words, "--to", "safetensors", "--add")

    assert ran.code == 2
    assert f"is not the {NORMALISATION} there" in ran.err


def test_bytes_may_stand_beside_a_normalisation_found_later(
    convcore: Run, checkpoint: Path, tmp_path: Path
) -> None:
    words = ("convert", checkpoint, "-o", tmp_path / "out")
    kept = checkpoint.with_name(NORMALISATION).rename(tmp_path / "aside")
    assert convcore(*words, "--to", "pth").code == 0
    kept.rename(checkpoint.with_name(NORMALISATION))

    ran = convcore(*words, "--to", "onnx", "--add")

    assert ran.code == 0, ran.err
    assert (tmp_path / "out/convert_AB.onnx").is_file()
    assert convcore("verify", tmp_path / "out").code == 0


def test_another_layout_is_refused(convcore: Run, example: Path, tmp_path: Path) -> None:
    words = ("convert", example, "-o", tmp_path / "out")
    assert convcore(*words).code == 0

    ran = convcore(*words, "--layout", "plain", "--to", "safetensors", "--add")

    assert ran.code == 2
    assert "holds the layout cyclegan, not plain" in ran.err


def test_a_second_component_joins_the_first(convcore: Run, example: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("convert", example, "-o", out)
    first = convcore(*words, "--component", "generator_AB", "--create-inference-script")
    assert first.code == 0
    (out / "NOTES.txt").write_text("mine")
    before = contents(out)

    ran = convcore(*words, "--component", "generator_BA", "--add")

    assert ran.code == 0, ran.err
    for name in ("generator_AB.pth", "NOTES.txt"):
        assert (out / name).read_bytes() == before[name]
    assert (out / "inference_example.py").is_file()
    assert (out / "generator_BA.pth").is_file()
    manifest = json.loads((out / "manifest.json").read_text())
    assert "NOTES.txt" not in {file["path"] for file in manifest["files"]}
    state = torch.load(example, weights_only=False)["state_dict"]
    rows = {row["tensor"]: row for row in manifest["ledger"] if row["tensor"] in state}
    assert len(rows) == sum(row["tensor"] in state for row in manifest["ledger"])
    for name, row in rows.items():
        owner = name.partition(".")[0]
        written = owner.startswith("generator")
        assert row["file"] == (f"{owner}.pth" if written else None)
        assert row["state"] == ("written" if written else "dropped")
    assert convcore("verify", out).code == 0


def test_what_cannot_be_kept_is_not_thrown_away(
    convcore: Run, example: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert convcore("convert", example, "-o", out).code == 0
    (out / "generator_AB.safetensors").write_text("mine")

    ran = convcore("convert", example, "-o", out, "--to", "safetensors", "--add")

    assert ran.code == 2
    assert "cannot keep: generator_AB.safetensors" in ran.err
    assert (out / "generator_AB.safetensors").read_text() == "mine"
