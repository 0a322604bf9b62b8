"""A tensor's bytes arrive whatever the kernel can do between two files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from convcore.archive import open_archive
from convcore.errors import SourceError


def copied(tensor: torch.Tensor, folder: Path) -> bytes:
    torch.save(tensor, folder / "one.pt")
    descriptor = os.open(folder / "copy", os.O_RDWR | os.O_CREAT)
    open_archive(folder / "one.pt").tree.copy_to(descriptor)
    os.close(descriptor)
    return (folder / "copy").read_bytes()


def refuse(*_: object) -> int:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.mark.parametrize("ways", [(), ("copy_file_range",), ("copy_file_range", "sendfile")])
def test_bytes_arrive_where_the_kernel_cannot_copy(
    ways: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ways:
        monkeypatch.setattr(os, name, refuse)
    tensor = torch.randn(700_001)

    assert copied(tensor, tmp_path) == tensor.numpy().tobytes()


def test_a_way_that_fails_halfway_is_taken_up_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.copy_file_range, []

    def once(source: int, fd: int, count: int, offset: int) -> int:
        if calls:
            refuse()
        calls.append(count)
        return real(source, fd, 1000, offset)

    monkeypatch.setattr(os, "copy_file_range", once)
    tensor = torch.randn(70_001)

    assert copied(tensor, tmp_path) == tensor.numpy().tobytes()
    assert calls


def test_another_fault_of_the_disk_is_not_taken_for_a_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full)

    with pytest.raises(OSError, match="No space left"):
        copied(torch.randn(10), tmp_path)


def test_a_source_that_ends_early_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)

    with pytest.raises(SourceError, match="changed while reading"):
        copied(torch.randn(10), tmp_path)
