from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from convcore.errors import SourceError
from convcore.formats import open_archive
from tests.formats.conftest import WILD


def _zip(**records: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(2))
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.ckpt"), io.BytesIO())
    return buffer.getvalue()


def _torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


def _onnx() -> bytes:
    import onnx

    graph = onnx.helper.make_graph([], "g", [], [])
    return onnx.helper.make_model(graph, producer_name="pytorch").SerializeToString()


def _saved() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(300)}, buffer)
    return buffer.getvalue()


def _legacy() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(300)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


TAR = next(WILD.glob("*.tar"))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
# The record names that torch.export.save of torch 2.13 writes.
EXPORTED = {"m/archive_format": b"pt2", "m/models/model.json": b"{}"}
FOREIGN = {
    "empty": (b"", "is empty", "download"),
    "zeros": (bytes(5000), "nothing but zeros", "download"),
    "lfs": (POINTER, "Git LFS pointer", "git lfs pull"),
    "html": (b"\n<!DOCTYPE html><html>404</html>", "web page", "browser"),
    "gzip": (gzip.compress(_saved()), "gzip", "gunzip"),
    "json": (json.dumps({"a": 1}).encode(), "JSON", "checkpoint"),
    "text": (b"hello\nworld\n", "text file", "torch.save"),
    "plain pickle": (pickle.dumps({"a": 1}), "plain pickle", "torch.save"),
    "old pickle": (pickle.dumps({"a": 1}, 0), "plain pickle", "torch.save"),
    "npy": (b"\x93NUMPY\x01\x00", "NumPy array file", "torch.save"),
    "npz": (_npz(), ".npz archive", "torch.save"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5", "convert"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "PNG image", "checkpoint"),
    "zip": (_zip(**{"a.txt": b"x"}), "zip archive of a.txt", "torch.save"),
    "zip of checkpoint": (_zip(**{"m/model.ckpt": b"x"}), "holds m/model.ckpt", "unpack"),
    "keras": (_zip(**{"config.json": b"{}", "model.weights.h5": b""}), "Keras", "convert"),
    "torchscript": (_torchscript(), "TorchScript", "state_dict"),
    "torch.export": (_zip(**EXPORTED), "torch.export", "state_dict"),
    "tar": (_tar(), "tar archive of model.ckpt", "unpack"),
    "onnx": (_onnx(), "ONNX graph", "came from"),
    "noise": (b"\xfe\x01\x9c\x7f" * 99, "no known checkpoint format", "torch.save"),
    "cut zip": (_saved()[:900], "cut short at offset 900", "again"),
    "cut legacy": (_legacy()[:900], "cut short at offset 900", "again"),
    "cut legacy pickle": (_legacy()[:200], "cut short at offset 200", "again"),
    "cut tar": (TAR.read_bytes()[:2400], "cut short at offset 2400", "again"),
}


@pytest.mark.parametrize(("data", "what", "remedy"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_that_is_no_checkpoint_is_named_with_the_next_step(
    tmp_path: Path, data: bytes, what: str, remedy: str
) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(data)

    with pytest.raises(SourceError) as caught:
        open_archive(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert what in str(caught.value)
    assert remedy in caught.value.remedy
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    from convcore.tensors.local_file import LocalFile

    path = {"fifo": tmp_path / "pipe", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "fifo":
        os.mkfifo(path)

    with pytest.raises(SourceError, match="not a file"):
        LocalFile(path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "secret.ckpt"
    path.touch(mode=0)

    with pytest.raises(SourceError, match="Permission denied"):
        open_archive(path)


def test_control_characters_of_a_name_do_not_reach_the_message(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\u202eb.ckpt"
    path.write_bytes(b"hello")

    with pytest.raises(SourceError) as caught:
        open_archive(path)

    assert "\x1b" not in str(caught.value)
    assert "\\u202e" in str(caught.value)
