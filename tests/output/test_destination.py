"""Where an output may lie: never where something is read, nor over what convcore did not write."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import ConvcoreError, UsageError
from convcore.host.registry import Registry, load_registry

# One with a stranger's sidecar and a folder of files that are read.
ETM = Path(__file__).parents[2] / "examples/etm/models"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder of a training: a checkpoint, and its notes."""
    folder = tmp_path / "run"
    folder.mkdir()
    torch.save({"a.w": torch.ones(2), "a.b": torch.ones(1)}, folder / "last.ckpt")
    (folder / "notes.txt").write_text("mine")
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def asked(checkpoint: Path, output: Path, **options: object) -> Request:
    return Request(checkpoint, output, layout="plain", **options)


def ours(folder: Path, *, within: Path | None = None) -> None:
    """Make a folder look like an output of convcore, with all that lies in it its own."""
    names = [path.name for path in folder.iterdir()]
    manifest = {"convcore_version": "0.1.0", "files": [{"path": name} for name in names]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


WAYS: dict[str, Callable[[Path], tuple[str, str]]] = {
    "its folder, from another one": lambda top: ("../run/last.ckpt", "../run"),
    "its folder, by its whole path": lambda top: (f"{top}/run/last.ckpt", f"{top}/run"),
    "the folder above": lambda top: ("../run/last.ckpt", f"{top}"),
    "a parent that is a link": lambda top: ("../run/last.ckpt", "../linked/run"),
    "the input by a link": lambda top: ("../linked/run/last.ckpt", "../run"),
    "a link to its folder": lambda top: ("../run/last.ckpt", "../to-run"),
    "dots in the middle": lambda top: ("../run/last.ckpt", "../run/../run"),
    "an input that is a link": lambda top: ("../latest.ckpt", "../run"),
    "a link inside it": lambda top: ("../run/link.ckpt", "../run"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"add": True}], ids=str)
def test_the_place_of_the_input_is_never_an_output(
    way: Callable[[Path], tuple[str, str]],
    options: dict[str, bool],
    run: Path,
    tmp_path: Path,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "linked").symlink_to(".")
    (tmp_path / "to-run").symlink_to("run")
    (tmp_path / "latest.ckpt").symlink_to("run/last.ckpt")
    torch.save({"a.w": torch.ones(2)}, tmp_path / "elsewhere.ckpt")
    (run / "link.ckpt").symlink_to("../elsewhere.ckpt")
    ours(run)
    ours(tmp_path)
    (tmp_path / "scripts").mkdir()
    monkeypatch.chdir(tmp_path / "scripts")
    before = everything(tmp_path)
    checkpoint, output = way(tmp_path)

    with pytest.raises(UsageError, match="lies inside the output"):
        convert(asked(Path(checkpoint), Path(output), **options), registry)

    assert everything(tmp_path) == before


@pytest.mark.parametrize("output", [".", "..", "./", "out/..", "../.."])
def test_dots_are_no_name_for_an_output(
    output: str, run: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "empty/inner").mkdir(parents=True)
    monkeypatch.chdir(run / "empty/inner")

    with pytest.raises(UsageError, match="is no name for an output") as caught:
        convert(asked(run / "last.ckpt", Path(output)), registry)

    assert "by its name" in caught.value.remedy


@pytest.mark.parametrize(
    ("given", "output"),
    [("../models", "../models"), ("../models", "../models/out"), ("../models", "../linked/new"),
     ("../linked", "../models/deep/out"), ("../models", "..")],
    ids=["the folder itself", "in it", "in it by a link", "given by a link", "dots"],
)  # fmt: skip
def test_an_output_never_lies_in_a_folder_that_is_read_nor_the_other_way_round(
    given: str, output: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models/deep").mkdir(parents=True)
    for path in ETM.iterdir():
        if path.is_file():
            (tmp_path / "models" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "linked").symlink_to("models")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = everything(tmp_path)

    with pytest.raises(UsageError):
        convert(Request(Path(given), Path(output), overwrite=True), registry)

    assert everything(tmp_path) == before


def test_a_sidecar_s_folder_is_never_an_output(tmp_path: Path, registry: Registry) -> None:
    example = Path(__file__).parents[2] / "examples/cyclegan"
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/last.ckpt").write_bytes((example / "last.ckpt").read_bytes())
    (tmp_path / "run/out").mkdir()
    sidecar = tmp_path / "run/out/normalization_params.json"
    sidecar.write_bytes((example / sidecar.name).read_bytes())
    ours(tmp_path / "run/out")
    (tmp_path / "run/normalization_params.json").symlink_to("out/normalization_params.json")
    before = everything(tmp_path)

    with pytest.raises(UsageError, match=r"normalization_params\.json lies inside the output"):
        convert(
            Request(tmp_path / "run/checkpoints/last.ckpt", tmp_path / "run/out", overwrite=True),
            registry,
        )

    assert everything(tmp_path) == before


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"dry_run": True}], ids=str)
def test_a_folder_of_the_user_s_is_refused_and_overwrite_is_not_offered(
    options: dict[str, bool], run: Path, tmp_path: Path, registry: Registry
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("years")
    before = everything(tmp_path)

    with pytest.raises(UsageError, match="no output of convcore") as caught:
        convert(asked(run / "last.ckpt", tmp_path / "thesis", **options), registry)

    assert "--overwrite" not in caught.value.remedy
    assert everything(tmp_path) == before


def test_overwriting_keeps_notes_and_replaces_what_convcore_wrote(
    run: Path, tmp_path: Path, registry: Registry
) -> None:
    out = tmp_path / "out"
    convert(asked(run / "last.ckpt", out, targets=("safetensors",)), registry)
    (out / "NOTES.txt").write_text("mine")

    convert(asked(run / "last.ckpt", out, overwrite=True), registry)

    assert (out / "NOTES.txt").read_text() == "mine"
    assert {path.name for path in out.iterdir()} == {
        "NOTES.txt", "manifest.json", "model.pth", "model_config.json",
    }  # fmt: skip
    listed = {row["path"] for row in json.loads((out / "manifest.json").read_text())["files"]}
    assert "NOTES.txt" not in listed


@pytest.mark.parametrize("dry_run", [True, False], ids=["dry run", "run"])
@pytest.mark.parametrize("how", ["overwrite", "add"])
def test_a_user_s_file_with_a_planned_name_is_refused(
    how: str, dry_run: bool, run: Path, tmp_path: Path, registry: Registry
) -> None:
    out = tmp_path / "out"
    convert(asked(run / "last.ckpt", out), registry)
    (out / "model.safetensors").write_text("mine")
    before = everything(out)

    with pytest.raises(UsageError, match=r"cannot keep: model\.safetensors"):
        convert(
            asked(run / "last.ckpt", out, targets=("safetensors",), dry_run=dry_run, **{how: True}),
            registry,
        )

    assert everything(out) == before


def test_an_example_of_the_user_s_own_stays_unless_one_is_asked_for(
    run: Path, tmp_path: Path, registry: Registry
) -> None:
    out = tmp_path / "out"
    convert(asked(run / "last.ckpt", out), registry)
    (out / "inference_example.py").write_text("mine")

    convert(asked(run / "last.ckpt", out, overwrite=True), registry)
    with pytest.raises(UsageError, match=r"cannot keep: inference_example\.py"):
        convert(
            asked(run / "last.ckpt", out, overwrite=True, create_inference_script=True), registry
        )

    assert (out / "inference_example.py").read_text() == "mine"


def test_an_old_output_is_put_back_before_anything_is_added_to_it(
    run: Path, tmp_path: Path, registry: Registry
) -> None:
    """A run was killed between the two renames of a system that cannot exchange folders."""
    host = f"{zlib.crc32(os.uname().nodename.encode()):08x}"
    convert(asked(run / "last.ckpt", tmp_path / "out"), registry)
    left = tmp_path / f".out.convcore-999999999-{host}0123abcd"
    left.mkdir()
    (tmp_path / "out").rename(f"{left}.old")

    convert(
        asked(run / "last.ckpt", tmp_path / "out", targets=("safetensors",), add=True), registry
    )

    assert (tmp_path / "out/model.pth").is_file()
    assert (tmp_path / "out/model.safetensors").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}


def snapshot(folder: Path) -> Path:
    """A file as huggingface_hub keeps it: a link into ``blobs``, where names are digests."""
    entry = folder / "models--a--b"
    (entry / "snapshots/0123abcd").mkdir(parents=True)
    (entry / "blobs").mkdir()
    torch.save({"a.w": torch.ones(2)}, entry / "blobs/9f86d0")
    (entry / "snapshots/0123abcd/weights.ckpt").symlink_to("../../blobs/9f86d0")
    return entry / "snapshots/0123abcd/weights.ckpt"


@pytest.mark.parametrize("by_link", [False, True], ids=["by its path", "by a link of the user's"])
def test_a_file_of_the_hugging_face_cache_keeps_its_name(
    by_link: bool, tmp_path: Path, registry: Registry
) -> None:
    given = snapshot(tmp_path)
    if by_link:
        (tmp_path / "latest").symlink_to(given)

    convert(asked(tmp_path / "latest" if by_link else given, tmp_path / "out"), registry)
    convert(
        asked(given, tmp_path / "out", targets=("safetensors",), add=True), registry
    )  # recognised

    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["source"]["name"] == "weights.ckpt"


def test_a_link_elsewhere_is_known_by_what_it_leads_to(
    run: Path, tmp_path: Path, registry: Registry
) -> None:
    (tmp_path / "latest").symlink_to(run / "last.ckpt")

    report = convert(asked(tmp_path / "latest", tmp_path / "out"), registry)

    assert report.manifest.source.name == "last.ckpt"


def test_an_input_that_does_not_exist_is_what_is_told(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(ConvcoreError, match="no file or folder"):
        convert(asked(tmp_path / "nowhere", tmp_path / "out"), registry)
