"""A manifest on disk may have been changed by anybody: its shape is checked before it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator

from convcore import convert
from convcore.errors import ConvcoreError, SourceError
from convcore.manifest import document as manifest

Change = Callable[[dict[str, Any]], Any]
CHANGES: dict[str, Change] = {
    "a path that leaves the folder": lambda m: m["files"][0].update(path="../victim"),
    "an absolute path": lambda m: m["files"][0].update(path="/etc/passwd"),
    "the folder above": lambda m: m["files"][0].update(path=".."),
    "a path that is a number": lambda m: m["files"][0].update(path=5),
    "a file of the ledger elsewhere": lambda m: m["ledger"][0].update(file="../victim"),
    "a negative size": lambda m: m["files"][0].update(bytes=-1),
    "a size that is true": lambda m: m["files"][0].update(bytes=True),
    "a digest that is none": lambda m: m["files"][0].update(sha256="x"),
    "no files": lambda m: m.pop("files"),
    "no source": lambda m: m.pop("source"),
    "a source that is text": lambda m: m.update(source="x"),
    "a ledger of numbers": lambda m: m.update(ledger=[1]),
    "a row without a file": lambda m: m["ledger"][0].pop("file"),
    "a row of a number": lambda m: m["ledger"][0].update(key=1),
    "an unknown state": lambda m: m["ledger"][0].update(state="stolen"),
    "a check without a verdict": lambda m: m["checks"][0].pop("passed"),
    "something more": lambda m: m.update(extra=1),
    "settings that are a list": lambda m: m.update(settings=[]),
    "names that are numbers": lambda m: m.update(renamed={"a": 1}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint and an output of it."""
    folder = tmp_path_factory.mktemp("made")
    torch.save({"a.w": torch.ones(3)}, folder / "x.pt")
    convert(folder / "x.pt", folder / "out", layout="plain")
    return folder / "x.pt", folder / "out"


@pytest.fixture
def output(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the output, to be tampered with."""
    copied = tmp_path / "parent" / "out"
    copied.mkdir(parents=True)
    for path in made[1].iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    return copied


def tamper(output: Path, change: Change) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    change(content)
    (output / "manifest.json").write_text(json.dumps(content))
    return content


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_manifest_of_another_shape_is_refused(change: Change, output: Path) -> None:
    content = tamper(output, change)

    with pytest.raises(SourceError) as caught:
        manifest.load(output)

    # A complete validator, not ours, agrees that something is wrong with it.
    assert not Draft202012Validator(manifest.schema()).is_valid(content)
    assert "no manifest that convcore wrote" in str(caught.value)


@pytest.mark.parametrize("name", ["../victim", "/etc/hostname"])
def test_adding_to_an_output_links_nothing_from_elsewhere(
    name: str, made: tuple[Path, Path], output: Path
) -> None:
    victim = output.parent / "victim"
    victim.write_text("precious")
    tamper(output, lambda m: m["files"].append({**m["files"][0], "path": name}))

    with pytest.raises(ConvcoreError):
        convert(made[0], output, targets="safetensors", layout="plain", add=True)

    assert sorted(path.name for path in output.parent.iterdir()) == ["out", "victim"]
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("how", ["other bytes", "a link", "gone"])
def test_adding_keeps_only_what_the_manifest_describes(
    how: str, made: tuple[Path, Path], output: Path, tmp_path: Path
) -> None:
    weights = output / "model.pth"
    content = weights.read_bytes()
    weights.unlink()
    if how == "other bytes":
        weights.write_bytes(content + b"x")
    if how == "a link":
        (tmp_path / "same").write_bytes(content)
        weights.symlink_to(tmp_path / "same")

    described = "is not what the manifest beside it describes"
    expected = "cannot keep: model.pth" if how == "a link" else described
    with pytest.raises(ConvcoreError, match=expected):
        convert(made[0], output, targets="safetensors", layout="plain", add=True)

    assert not (output / "model.safetensors").exists()


def test_a_manifest_of_countless_objects_is_refused_before_it_is_parsed(output: Path) -> None:
    objects = "[]," * 10_000_000
    (output / "manifest.json").write_text(f'{{"schema_version": 1, "x": [{objects}[]]}}')

    with pytest.raises(SourceError, match="more objects than any such file"):
        manifest.load(output)
