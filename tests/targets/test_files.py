"""A tensor's bytes are appended to whatever takes them, all of them, or the fault is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from convcore.errors import SourceError
from convcore.formats import open_archive
from convcore.targets.weights.files import PIECE, copy
from tests.formats.conftest import bits
from tests.tensors.test_views import VIEWS


def saved(tensor: torch.Tensor, folder: Path) -> Path:
    torch.save({"t": tensor}, folder / "one.pt")
    return folder / "one.pt"


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_the_elements_are_appended(view: torch.Tensor, tmp_path: Path) -> None:
    lazy = open_archive(saved(view, tmp_path)).tree["t"]

    with (tmp_path / "copied").open("wb") as file:
        file.write(b"before")
        file.flush()
        counts = [copy(lazy, file.fileno()) for _ in range(2)]

    assert (tmp_path / "copied").read_bytes() == b"before" + 2 * bits(view)[2]
    assert counts == 2 * [len(bits(view)[2])]


def test_more_than_one_piece_arrives_in_order(tmp_path: Path) -> None:
    tensor = torch.randn(3 * PIECE // 4 + 5)

    with (tmp_path / "copied").open("wb") as file:
        copy(open_archive(saved(tensor, tmp_path)).tree["t"], file.fileno())

    assert (tmp_path / "copied").read_bytes() == tensor.numpy().tobytes()


def test_a_pipe_takes_the_bytes_too(tmp_path: Path) -> None:
    tensor = torch.arange(24.0)
    reading, writing = os.pipe()

    copy(open_archive(saved(tensor, tmp_path)).tree["t"], writing)

    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == tensor.numpy().tobytes()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    lazy = open_archive(saved(torch.randn(10), tmp_path)).tree["t"]

    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match="No space left"),
    ):
        copy(lazy, full.fileno())


def test_a_source_that_ends_early_has_changed(tmp_path: Path) -> None:
    path = saved(torch.zeros(PIECE), tmp_path)
    lazy = open_archive(path).tree["t"]
    os.truncate(path, 3 * PIECE)

    with (
        (tmp_path / "copied").open("wb") as file,
        pytest.raises(SourceError, match="changed while reading"),
    ):
        copy(lazy, file.fileno())
