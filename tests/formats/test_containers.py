"""A checkpoint inside a zip or tar is opened where it lies."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from convcore.errors import SourceError
from convcore.formats.budgets import DEFAULT_BUDGETS
from convcore.formats.containers import is_container, member_names, open_member
from convcore.sources.source import Input
from convcore.tensors import LocalFile, Window
from convcore.tensors.faults import Malformed
from tests.formats.conftest import bits

STATE = {"policy.weight": torch.randn(50, 20), "policy.bias": torch.zeros(20)}
LONG = f"{'d' * 60}/{'e' * 60}/weights.pt"


def _saved() -> bytes:
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    return buffer.getvalue()


def _zip(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("data", b"{}")
        archive.writestr("policy.pth", _saved())


def _tar(path: Path, kind: int, name: str) -> None:
    with tarfile.open(path, "w", format=kind) as archive:
        for member, data in (("readme", b"hello"), (name, _saved())):
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


CONTAINERS = {
    "stored zip": (lambda path: _zip(path, zipfile.ZIP_STORED), "policy.pth"),
    "deflated zip": (lambda path: _zip(path, zipfile.ZIP_DEFLATED), "policy.pth"),
    "ustar": (lambda path: _tar(path, tarfile.USTAR_FORMAT, "w/model.pt"), "w/model.pt"),
    "ustar, a long name": (lambda path: _tar(path, tarfile.USTAR_FORMAT, LONG), LONG),
    "GNU tar, a long name": (lambda path: _tar(path, tarfile.GNU_FORMAT, LONG), LONG),
    "pax, a long name": (lambda path: _tar(path, tarfile.PAX_FORMAT, f"ä{LONG}"), f"ä{LONG}"),
    "a leading dot": (lambda path: _tar(path, tarfile.USTAR_FORMAT, "./m.pt"), "m.pt"),
}


@pytest.mark.parametrize(("make", "name"), CONTAINERS.values(), ids=CONTAINERS)
def test_a_member_is_read_as_torch_reads_it_from_the_disk(make, name: str, tmp_path: Path) -> None:
    path = tmp_path / "container"
    make(path)

    names = member_names(LocalFile(path), DEFAULT_BUDGETS)
    tree = Input(path).open(path, member=name).tree

    assert is_container(path.read_bytes()[:512])
    assert name in names
    assert "link" not in names
    assert {key: bits(lazy.load()) for key, lazy in tree.items()} == {
        key: bits(tensor) for key, tensor in STATE.items()
    }
    assert all(len(list(lazy.chunks(check=True))) for lazy in tree.values())


def test_a_stored_member_is_a_window_and_a_deflated_one_is_bounded(tmp_path: Path) -> None:
    _zip(tmp_path / "stored", zipfile.ZIP_STORED)
    _zip(tmp_path / "packed", zipfile.ZIP_DEFLATED)
    stored, packed = LocalFile(tmp_path / "stored"), LocalFile(tmp_path / "packed")

    assert isinstance(open_member(stored, "policy.pth", DEFAULT_BUDGETS), Window)
    with pytest.raises(Malformed, match="more than 1000"):
        open_member(packed, "policy.pth", DEFAULT_BUDGETS, limit=1000)


def test_a_member_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    _zip(tmp_path / "a.zip", zipfile.ZIP_STORED)

    with pytest.raises(SourceError, match=r"has no member 'policy\.pt'") as caught:
        Input(tmp_path).open(tmp_path / "a.zip", member="policy.pt")

    assert caught.value.seen == ("data", "policy.pth")


def _flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


TAR = io.BytesIO()
with tarfile.open(fileobj=TAR, mode="w") as _archive:
    _entry = tarfile.TarInfo("m.pt")
    _entry.size = len(_saved())
    _archive.addfile(_entry, io.BytesIO(_saved()))
DAMAGED = {
    "a cut tar": (TAR.getvalue()[:3000], "cut short"),
    "a wrong header": (TAR.getvalue()[:3] + b"X" + TAR.getvalue()[4:], "neither a zip nor a tar"),
    "no end": (TAR.getvalue()[: 512 + -(-len(_saved()) // 512) * 512], "cut short"),
    "nothing": (b"", "neither a zip nor a tar"),
}


@pytest.mark.parametrize(("data", "words"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_container_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(data)

    with pytest.raises(SourceError, match=words):
        Input(tmp_path).open(tmp_path / "c", member="m.pt")


def test_a_deflated_member_with_another_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m.pt", bytes(50_000))
    data = bytearray(path.read_bytes())
    for at in (14, data.index(b"PK\1\2") + 16):  # the checksum stands in both headers
        data[at] ^= 1
    path.write_bytes(data)

    with pytest.raises(SourceError, match="CRC-32"):
        Input(tmp_path).open(path, member="m.pt")
