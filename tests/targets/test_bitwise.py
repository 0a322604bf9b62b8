"""What copies tensors is made wrong on purpose: the proof, which uses none of it, has to tell."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

import convcore
from convcore.errors import SourceError, VerificationError
from convcore.formats import open_archive
from convcore.targets.weights import bitwise, files, prove, prove_arrays, prove_bytes, torch_zip
from convcore.tensors import LazyTensor, Storage, elements
from tests.formats.conftest import bits
from tests.formats.test_formats import packed

Z = torch.tensor([1 + 2j, 3 - 4j, 5 + 0j])
GRID = torch.arange(24.0).reshape(4, 6)


def _without_flags(tensor: LazyTensor) -> Any:
    return tensor.storage, tensor.spec, tensor.offset, tensor.stride


def _without_offset(tensor: LazyTensor) -> Any:
    return tensor.storage, tensor.spec, tensor.stride, tensor.conj, tensor.neg


def _without_stride(tensor: LazyTensor) -> Any:
    return tensor.storage, tensor.spec, tensor.offset, tensor.conj, tensor.neg


def _shifted(storage: Storage, start: int, length: int, size: int, *, check: bool = False) -> Any:
    for piece in PIECES(storage, start, length, size, check=check):
        yield bytes(piece[1:]) + bytes(piece[:1])


PIECES = Storage.pieces
TREES: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
    "conjugates": lambda: {"z": Z, "conj": Z.conj()},
    "negatives": lambda: {"a": Z.clone().imag, "n": Z.clone().conj().imag},
    "slices": lambda: {"a": GRID.flatten()[:6], "b": GRID.flatten()[6:12]},
    "transposed": lambda: {"a": GRID[:, :4], "b": GRID[:, :4].t()},
    "dense": lambda: {"a": GRID},
}
FAULTS: dict[str, tuple[Any, str, Any, str]] = {
    "identity without flags": (LazyTensor, "identity", property(_without_flags), "conjugates"),
    "identity without offset": (LazyTensor, "identity", property(_without_offset), "slices"),
    "identity without stride": (LazyTensor, "identity", property(_without_stride), "transposed"),
    "everything is contiguous": (
        LazyTensor, "contiguous", property(lambda _: True), "transposed",
    ),
    "everything is plain": (LazyTensor, "plain", property(lambda _: True), "conjugates"),
    "nothing is converted": (elements, "converted", lambda part, *_, **__: part, "negatives"),
    "rows in another order": (
        LazyTensor, "_stored", lambda *_: np.zeros((4, 4), "V4"), "transposed",
    ),
    "bytes are shifted": (Storage, "pieces", _shifted, "dense"),
    "every byte is counted twice": (
        files, "copy", lambda tensor, fd: files.append(bytes(tensor.nbytes), fd) or tensor.nbytes,
        "dense",
    ),
    "checksums are wrong": (torch_zip, "crc_of", lambda _: 7, "dense"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_what_copies_is_found_by_the_proof(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, wrong, tree = FAULTS[fault]
    torch.save(TREES[tree](), tmp_path / "source.pt")
    monkeypatch.setattr(owner, name, wrong)
    if owner is files:
        monkeypatch.setattr(torch_zip, name, wrong)

    source = open_archive(tmp_path / "source.pt").tree
    torch_zip.write(tmp_path / "copy.pt", source)

    with pytest.raises(VerificationError, match="is not what was to be written"):
        prove(tmp_path / "copy.pt", source)


@pytest.mark.parametrize("tree", TREES)
def test_without_a_fault_the_same_is_proved(tree: str, tmp_path: Path) -> None:
    torch.save(TREES[tree](), tmp_path / "source.pt")
    source = open_archive(tmp_path / "source.pt").tree
    torch_zip.write(tmp_path / "copy.pt", source)

    assert prove(tmp_path / "copy.pt", source).passed


@pytest.mark.parametrize("target", ["pth", "state-dict"])
def test_a_conversion_does_not_publish_what_a_wrong_identity_wrote(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"z": Z, "w": Z.conj()}, tmp_path / "m.pt")
    monkeypatch.setattr(LazyTensor, "identity", property(_without_flags))

    with pytest.raises(VerificationError, match="w has other bytes"):
        convcore.convert(tmp_path / "m.pt", tmp_path / "out", target, layout="plain")

    assert not (tmp_path / "out").exists()


@st.composite
def _twins(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """A view, and the same elements laid out by other strides."""
    kind = draw(st.sampled_from(["uint8", "float16", "float32", "int64", "complex64"]))
    storage = torch.randint(0, 256, (800,), dtype=torch.uint8).view(getattr(torch, kind))
    shape = draw(st.lists(st.integers(1, 4), max_size=4))
    stride = [draw(st.integers(0, 5)) for _ in shape]
    view = storage.as_strided(shape, stride, draw(st.integers(0, 3)))
    if view.is_complex() and draw(st.booleans()):
        view = draw(st.sampled_from([view.conj(), view.conj().imag]))
    order = draw(st.permutations(range(view.dim())))
    twin = (
        view.resolve_conj()
        .resolve_neg()
        .permute(order)
        .clone(memory_format=torch.contiguous_format)
    )
    return view, twin.permute([order.index(axis) for axis in range(view.dim())])


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pair=_twins(), window=st.sampled_from([16, 64, 1 << 20]), place=st.integers(0, 255))
def test_bits_are_the_same_where_torch_says_so_and_nowhere_else(
    pair: tuple[torch.Tensor, torch.Tensor], window: int, place: int, tmp_path: Path
) -> None:
    view, twin = pair
    other = twin.clone()
    flat = other.view(torch.uint8) if other.dim() and other.is_contiguous() else None
    lazy = []
    for name, tensor in {"view": view, "twin": twin}.items():
        torch.save({"t": tensor}, tmp_path / name)
        lazy.append(open_archive(tmp_path / name).tree["t"])
    before, bitwise._WINDOW = bitwise._WINDOW, window
    try:
        assert bitwise.same_bits(*lazy)
        if flat is not None:
            flat.flatten()[place % flat.numel()] ^= 0x10
            torch.save({"t": other}, tmp_path / "other")
            assert not bitwise.same_bits(open_archive(tmp_path / "other").tree["t"], lazy[0])
    finally:
        bitwise._WINDOW = before


@pytest.mark.parametrize("order", ["little", "big"])
def test_deflated_and_big_endian_sources_are_proved(order: str, tmp_path: Path) -> None:
    mixed = torch.cat([torch.zeros(300_007), torch.randn(400_001)])
    tree = {
        "whole": mixed.clone(), "part": mixed[5:600_000], "t": mixed[:600_000].view(3, -1).t(),
        "conj": torch.view_as_complex(mixed[:600_000].clone().view(-1, 2)).conj(),
    }  # fmt: skip
    torch.save(tree, tmp_path / "plain.pt")
    path = packed(tmp_path / "plain.pt", tmp_path / "packed.pt", byteorder=order.encode())
    source = open_archive(path).tree
    torch_zip.write(tmp_path / "copy.pt", source)

    assert prove(tmp_path / "copy.pt", source).passed
    loaded = torch.load(path, weights_only=True)
    written = torch.load(tmp_path / "copy.pt", weights_only=True)
    assert all(bits(written[name]) == bits(loaded[name]) for name in tree)


def test_a_damaged_source_is_told_by_the_proof_too(tmp_path: Path) -> None:
    torch.save({"a": GRID, "b": GRID.clone()[1:]}, tmp_path / "source.pt")
    with zipfile.ZipFile(tmp_path / "source.pt") as archive:
        at = archive.getinfo("source/data/1").header_offset
    data = bytearray((tmp_path / "source.pt").read_bytes())
    torch.save({"a": GRID, "b": GRID.clone()[1:]}, tmp_path / "good.pt")
    data[data.index(GRID.numpy().tobytes(), at)] ^= 1
    (tmp_path / "source.pt").write_bytes(data)
    source = open_archive(tmp_path / "source.pt").tree
    torch_zip.write(tmp_path / "copy.pt", source)

    with pytest.raises(SourceError, match="CRC-32"):
        prove(tmp_path / "copy.pt", source)


def test_bytes_and_arrays_are_proved_against_strided_sources(tmp_path: Path) -> None:
    torch.save({"t": GRID.t(), "z": Z.conj()}, tmp_path / "source.pt")
    source = open_archive(tmp_path / "source.pt").tree
    arrays = {"t": GRID.t().numpy(), "z": Z.conj().resolve_conj().numpy()}
    blob = arrays["t"].tobytes() + arrays["z"].tobytes()
    (tmp_path / "flat").write_bytes(blob)
    starts = {"t": 0, "z": 96}

    assert prove_arrays(tmp_path / "flat", arrays, source).passed
    assert prove_bytes(tmp_path / "flat", starts, source).passed
    for place in (1, 95, 96, len(blob) - 1):
        wrong = bytearray(blob)
        wrong[place] ^= 1
        (tmp_path / "flat").write_bytes(wrong)
        with pytest.raises(VerificationError, match="other bytes"):
            prove_bytes(tmp_path / "flat", starts, source)
    with pytest.raises(VerificationError, match="other bits"):
        prove_arrays(tmp_path / "flat", arrays | {"z": arrays["z"] * 2}, source)
