"""A link beside a checkpoint is followed to the same checkpoint's files and nowhere else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from convcore.errors import SourceError
from convcore.formats import open_archive
from convcore.formats.links import within


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "sub").mkdir(parents=True)
    (folder / "own.json").write_text("{}")
    (tmp_path / "secret").write_text("a stranger's")
    return folder


def test_a_file_that_is_no_link_is_itself(run: Path) -> None:
    assert within(run / "own.json", run) == (run / "own.json").resolve()
    assert within(run / "absent.json", run) == run.resolve() / "absent.json"


def test_a_link_within_the_folder_is_followed(run: Path) -> None:
    (run / "sub/again.json").symlink_to("../own.json")

    assert within(run / "sub/again.json", run) == (run / "own.json").resolve()


def test_links_on_the_way_to_the_folder_do_not_matter(run: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to("run")

    assert within(tmp_path / "latest/own.json", tmp_path / "latest") == run.resolve() / "own.json"


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "../run-2/own.json"])
def test_a_link_out_of_the_folder_is_refused_with_its_target(run: Path, target: str) -> None:
    (run / "side.json").symlink_to(target)

    with pytest.raises(SourceError, match="outside the checkpoint's folder") as caught:
        within(run / "side.json", run)

    assert str((run / target).resolve()) in caught.value.what
    assert "copy it into the folder" in caught.value.remedy


def test_a_folder_that_is_a_link_leads_no_further_out(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text("{}")
    (run / "linked").symlink_to("../other")

    with pytest.raises(SourceError, match="outside the checkpoint's folder"):
        within(run / "linked/config.json", run)


@pytest.mark.parametrize("kind", ["pipe", "folder", "circle"])
def test_a_link_to_what_is_no_file_is_refused(run: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(run / "target")
    elif kind == "folder":
        (run / "target").mkdir()
    else:
        (run / "target").symlink_to("side.json")
    (run / "side.json").symlink_to("target")

    with pytest.raises(SourceError, match="is a link"):
        within(run / "side.json", run)


def snapshot(folder: Path, entry: str = "models--a--b") -> Path:
    """A folder as huggingface_hub lays it out: the files are links into ``blobs``."""
    made = folder / entry / "snapshots/0123abcd"
    made.mkdir(parents=True)
    (folder / entry / "blobs").mkdir()
    (folder / entry / "blobs/9f86d0").write_bytes(b"content")
    return made


def test_a_snapshot_of_the_hugging_face_cache_leads_to_its_blobs(tmp_path: Path) -> None:
    place = snapshot(tmp_path)
    (place / "unet").mkdir()
    (place / "config.json").symlink_to("../../blobs/9f86d0")
    (place / "unet/config.json").symlink_to("../../../blobs/9f86d0")

    blob = (tmp_path / "models--a--b/blobs/9f86d0").resolve()
    assert within(place / "config.json", place) == blob
    assert within(place / "unet/config.json", place / "unet") == blob


def test_the_blobs_of_another_cache_entry_are_out_of_bounds(tmp_path: Path) -> None:
    place = snapshot(tmp_path)
    snapshot(tmp_path, "models--private--other")
    (place / "config.json").symlink_to("../../../models--private--other/blobs/9f86d0")

    with pytest.raises(SourceError, match="outside the checkpoint's folder"):
        within(place / "config.json", place)


def sharded(folder: Path) -> Path:
    save_file({"a": torch.arange(3.0)}, folder / "part-1.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors"}}))
    return index


def test_a_shard_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    index = sharded(tmp_path / "set")
    (tmp_path / "set/part-1.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (tmp_path / "set/part-1.safetensors").symlink_to("../elsewhere.safetensors")

    for given in (index, index.parent):
        with pytest.raises(SourceError, match="outside the checkpoint's folder"):
            open_archive(given)


def test_what_the_user_names_may_be_a_link_to_anywhere(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    index = sharded(tmp_path / "set")
    (tmp_path / "latest").symlink_to("set")
    (tmp_path / "one.safetensors").symlink_to("set/part-1.safetensors")

    for given in (tmp_path / "latest", tmp_path / "one.safetensors", index):
        assert open_archive(given).tree["a"].load().tolist() == [0, 1, 2]


def test_shards_of_the_hugging_face_cache_are_read_through_their_links(tmp_path: Path) -> None:
    place = snapshot(tmp_path)
    index = sharded(place)
    for number, path in enumerate((index, place / "part-1.safetensors")):
        path.rename(place.parent.parent / f"blobs/{number}")
        path.symlink_to(f"../../blobs/{number}")

    assert open_archive(place).tree["a"].load().tolist() == [0, 1, 2]
