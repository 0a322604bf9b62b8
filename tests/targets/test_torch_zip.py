"""What the torch-free writer writes, torch reads: every dtype, shape and view."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from convcore.formats import open_archive
from convcore.targets.weights import torch_zip

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool,
    torch.complex64, torch.complex128, torch.complex32, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
]  # fmt: skip


def bits(tensor: torch.Tensor) -> bytes:
    return (
        tensor.resolve_conj()
        .resolve_neg()
        .flatten()
        .clone(memory_format=torch.contiguous_format)  # one element may keep an odd stride
        .view(torch.uint8)
        .numpy()
        .tobytes()
    )


def rewritten(tree: object, folder: Path) -> object:
    """Save with torch, read with convcore, write with convcore, load with torch."""
    source, copy = folder / "source.pt", folder / "copy.pt"
    copy.unlink(missing_ok=True)
    torch.save(tree, source)
    torch_zip.write(copy, open_archive(source).tree)
    return torch.load(copy, weights_only=True)


def random_bits(dtype: torch.dtype, shape: list[int], seed: int) -> torch.Tensor:
    count = dtype.itemsize
    for size in shape:
        count *= size
    generator = torch.Generator().manual_seed(seed)
    top = 2 if dtype is torch.bool else 256
    raw = torch.randint(0, top, (count,), dtype=torch.uint8, generator=generator)
    return raw.view(dtype).reshape(shape)


VIEWS = {
    "as it is": lambda t: t,
    "transposed": lambda t: t.transpose(0, -1) if t.dim() > 1 else t,
    "every other": lambda t: t[::2] if t.dim() else t,
    "column slice": lambda t: t[..., 1:] if t.dim() and t.shape[-1] > 1 else t,
    "expanded": lambda t: t.unsqueeze(0).expand(3, *t.shape),
}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(0, 4), max_size=4),
    view=st.sampled_from(sorted(VIEWS)),
    seed=st.integers(0, 1000),
)
def test_every_dtype_shape_and_view_survives(dtype, shape, view, seed, tmp_path: Path) -> None:
    tensor = random_bits(dtype, shape, seed)
    if tensor.numel():  # a view of nothing may start outside its storage, which is refused
        tensor = VIEWS[view](tensor)

    loaded = rewritten({"t": tensor}, tmp_path)["t"]

    assert loaded.dtype == dtype
    assert loaded.shape == tensor.shape
    assert bits(loaded) == bits(tensor)


def test_conjugated_and_negated_views_are_resolved(tmp_path: Path) -> None:
    z = torch.tensor([1 + 2j, 3 - 4j])
    other = z.clone()

    loaded = rewritten({"conj": z.conj(), "neg": other.conj().imag}, tmp_path)

    assert torch.equal(loaded["conj"], z.conj().resolve_conj())
    assert torch.equal(loaded["neg"], other.conj().imag.resolve_neg())


def test_aliases_share_their_storage_and_views_do_not_grow(tmp_path: Path) -> None:
    whole = torch.arange(1000.0)

    loaded = rewritten({"a": whole, "b": whole, "slice": whole[:10]}, tmp_path)

    assert loaded["a"].data_ptr() == loaded["b"].data_ptr()
    assert loaded["slice"].untyped_storage().nbytes() == 40


def test_plain_values_and_containers_survive(tmp_path: Path) -> None:
    tree = {
        "none": None, "yes": True, "no": False, "small": -5, "large": 1 << 70, "real": 1.5,
        "text": "gewürz \U0001f336", "list": [1, [2]], "tuple": (1, "a"), "empty": {},
        "ordered": OrderedDict(b=1, a=torch.ones(2)),
    }  # fmt: skip

    loaded = rewritten(tree, tmp_path)

    assert list(loaded) == list(tree)
    assert {k: v for k, v in loaded.items() if k != "ordered"} == {
        k: v for k, v in tree.items() if k != "ordered"
    }
    assert isinstance(loaded["ordered"], OrderedDict)
    assert list(loaded["ordered"]) == ["b", "a"]


def test_records_are_sound_for_any_zip_reader_and_aligned(tmp_path: Path) -> None:
    rewritten({"a": torch.ones(3), "view": torch.ones(4, 4).t()[1:]}, tmp_path)

    with zipfile.ZipFile(tmp_path / "copy.pt") as archive:
        assert archive.testzip() is None
        for record in archive.infolist():
            assert record.compress_type == zipfile.ZIP_STORED
            assert record.date_time == (1980, 0, 0, 0, 0, 0)
        data = [r for r in archive.infolist() if "/data/" in r.filename]
    content = (tmp_path / "copy.pt").read_bytes()
    for record in data:
        name, extra = (
            int.from_bytes(content[record.header_offset + at :][:2], "little") for at in (26, 28)
        )
        assert (record.header_offset + 30 + name + extra) % 64 == 0


def test_an_existing_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "copy.pt").write_bytes(b"precious")

    with pytest.raises(FileExistsError):
        torch_zip.write(tmp_path / "copy.pt", {"a": 1})

    assert (tmp_path / "copy.pt").read_bytes() == b"precious"


@pytest.mark.slow
def test_records_beyond_four_gigabytes_are_found_again(tmp_path: Path) -> None:
    tree = {"large": torch.zeros((1 << 32) + 64, dtype=torch.uint8), "after": torch.arange(5)}
    tree["large"][-1] = 7

    loaded = rewritten(tree, tmp_path)

    assert loaded["large"].shape == tree["large"].shape
    assert loaded["large"][-1] == 7
    assert torch.equal(loaded["after"], tree["after"])
