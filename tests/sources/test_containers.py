"""Checkpoints inside archives of other kinds, and pickles of arrays."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import convcore
from convcore.errors import SourceError, UsageError
from tests.sources.nets import momentum, net, same, written

STATE, OTHER = net(5, 4, norm=True), net(4, 2)


def saved(tree: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(tree, file, **options)
    return file.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


RL = {"data": b"{}", "policy.pth": saved(STATE), "policy.optimizer.pth": saved(momentum(STATE))}
SPEECH = {"./config.yaml": b"x: 1", "./weights.ckpt": saved({"state_dict": STATE})}
CONTAINERS = {
    "stored zip": ("agent.zip", zipped(RL)),
    "deflated zip": ("net.mar", zipped(RL, zipfile.ZIP_DEFLATED)),
    "zip with several folders": (
        "run.zip", zipped({"logs/a.txt": b"x", "out/best/net.pt": saved(STATE)})
    ),
    "tar": ("speech.nemo", tarred(SPEECH)),
    "packed tar": ("speech.tar.gz", gzip.compress(tarred(SPEECH))),
    "packed tar of an old file": (
        "old.tar.gz",
        gzip.compress(tarred({"w.th": saved(STATE, _use_new_zipfile_serialization=False)})),
    ),
    "packed file": ("net.pt.gz", gzip.compress(saved(STATE))),
    "pickle of arrays": (
        "arrays.pkl",
        pickle.dumps({"model": {name: value.numpy() for name, value in STATE.items()}, "by": "me"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data"), CONTAINERS.values(), ids=CONTAINERS)
def test_the_one_checkpoint_in_a_container_is_read_where_it_lies(
    name: str, data: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)

    report = convcore.convert(tmp_path / name, tmp_path / "out", verify="full")

    assert same(written(tmp_path / "out")["model"], STATE)
    assert {path.name for path in tmp_path.iterdir()} == {name, "out"}
    assert all(check.passed for check in report.manifest.checks)


def test_of_several_checkpoints_one_is_taken_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    path.write_bytes(zipped({"a/up.pth": saved(STATE), "b/down.pth": saved(OTHER)}))

    with pytest.raises(SourceError, match=r"holds 2 checkpoints: a/up\.pth, b/down\.pth") as caught:
        convcore.convert(path, tmp_path / "none")
    convcore.convert(path, tmp_path / "out", member="b/down.pth")

    assert "--member a/up.pth" in caught.value.remedy
    assert same(written(tmp_path / "out")["model"], OTHER)


def test_a_member_that_is_not_there_and_one_of_no_container_are_told(tmp_path: Path) -> None:
    (tmp_path / "one.zip").write_bytes(zipped(RL))
    (tmp_path / "net.pt").write_bytes(saved(STATE))

    with pytest.raises(UsageError, match=r"has no file up\.pth") as caught:
        convcore.inspect(tmp_path / "one.zip", member="up.pth")
    with pytest.raises(UsageError, match="is a checkpoint itself"):
        convcore.inspect(tmp_path / "net.pt", member="up.pth")

    assert any("policy.pth" in line for line in caught.value.seen)


def test_a_packed_file_larger_than_allowed_is_refused_with_the_option(tmp_path: Path) -> None:
    path = tmp_path / "big.tar.gz"
    path.write_bytes(gzip.compress(tarred({"w.pt": saved({"w.weight": torch.zeros(99, 99)})})))

    with pytest.raises(UsageError, match="unpacks to more than 1,000 bytes") as caught:
        convcore.inspect(path, config={"member_limit": "1000"})
    found = convcore.inspect(path, config={"member_limit": "1000000"})

    assert "member_limit" in caught.value.remedy
    assert found.document["tensor_count"] == 1


def test_a_damaged_member_is_told_and_not_passed_over(tmp_path: Path) -> None:
    whole = saved(STATE)
    (tmp_path / "bad.zip").write_bytes(zipped({"net.pth": whole[: len(whole) // 2]}))

    with pytest.raises(SourceError):
        convcore.inspect(tmp_path / "bad.zip")
