from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convcore.errors import SourceError
from convcore.formats import open_archive, walk_tensors
from convcore.tensors import Extent, LazyTensor, LocalFile, Memory, Storage, byte_source, strided
from convcore.tensors.dtypes import BY_NAME
from tests.formats.conftest import Save, bits

GRID = torch.arange(24.0).reshape(4, 6)
VIEWS = {
    "scalar": torch.tensor(7),  # a batch-norm counter has no axes
    "empty": torch.zeros(0, 4),
    "empty-slice": GRID[:, 3:3],
    "transposed": GRID.t(),
    "column-slice": GRID[:, 1:3],  # spans more storage than it has elements
    "every-second": GRID[::2, ::3],
    "one-column": GRID[:, 2],
    "nothing-past-the-end": GRID[4:, 3:],
    "nothing-past-the-end-transposed": GRID[4:, 3:].t(),
    "expanded": torch.tensor([1.0, 2.0]).expand(3, 4, 2),
    "expanded-row": GRID[1:2].expand(5, 6),
    "permuted": torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1),
    "channels-last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "windows": torch.arange(10.0).unfold(0, 4, 2),
    "diagonal": GRID.diagonal(),
    "tail": torch.arange(9)[5:],
    "conjugated": torch.randn(3, 2, dtype=torch.complex64).conj(),
    "conjugated-transposed": torch.randn(3, 2, dtype=torch.complex128).mH,
    "negative-imaginary": torch.randn(3, 2, dtype=torch.complex64).conj().imag,
    "real-part": torch.randn(3, 2, dtype=torch.complex64).real,
    "nan-payload": torch.tensor([0x7FC00123, -1], dtype=torch.int32).view(torch.float32),
}
DTYPES = sorted(BY_NAME)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_every_memory_view_is_read_as_torch_reads_it(
    view: torch.Tensor, legacy: bool, save: Save
) -> None:
    path = save({"t": view}, legacy=legacy)

    lazy = open_archive(path).tree["t"]

    expected = torch.load(path, weights_only=True)["t"]
    assert bits(lazy.load()) == bits(expected)
    assert (lazy.dtype, lazy.shape) == (str(view.dtype)[6:], tuple(view.shape))
    assert lazy.contiguous == expected.is_contiguous()
    assert lazy.nbytes == expected.numel() * expected.element_size()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_element_type_is_read_bit_for_bit(dtype: str, save: Save) -> None:
    item = BY_NAME[dtype].itemsize
    raw = torch.randint(0, 256, (6 * item,), dtype=torch.uint8)
    if dtype == "bool":
        raw %= 2
    tensor = raw.view(getattr(torch, dtype)).reshape(2, 3)
    path = save({"t": tensor, "slice": tensor[:, 1:]})

    found = open_archive(path).tree

    expected = torch.load(path, weights_only=True)
    assert bits(found["t"].load()) == bits(expected["t"]) == bits(tensor)
    assert bits(found["slice"].load()) == bits(expected["slice"])
    assert found["t"].raw().tobytes() == raw.numpy().tobytes()


@pytest.mark.parametrize("dtype", [name for name in DTYPES if BY_NAME[name].numpy])
def test_numpy_gets_the_same_elements_in_memory_of_its_own(dtype: str, save: Save) -> None:
    tensor = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, dtype))
    path = save({"t": tensor})

    array = open_archive(path).tree["t"].numpy()

    assert array.dtype == tensor.numpy().dtype
    assert array.tolist() == tensor.tolist()
    array[0, 0] = 1  # writable, and no view of the file
    assert path.read_bytes() == path.read_bytes()
    assert open_archive(path).tree["t"].numpy().tolist() == tensor.tolist()


def test_a_type_that_numpy_lacks_is_refused_by_name_and_given_as_bits(save: Save) -> None:
    tensor = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    lazy = open_archive(save({"t": tensor})).tree["t"]

    with pytest.raises(SourceError, match="NumPy has no type bfloat16"):
        lazy.numpy()

    assert lazy.raw().tolist() == tensor.view(torch.uint16).tolist()


@st.composite
def _views(draw: st.DrawFn) -> torch.Tensor:
    dtype = getattr(
        torch, draw(st.sampled_from(["uint8", "float16", "float32", "complex64", "int64"]))
    )
    storage = torch.randint(0, 256, (400,), dtype=torch.uint8).view(dtype)
    rank = draw(st.integers(0, 4))
    shape = [draw(st.integers(0, 4)) for _ in range(rank)]
    stride = [draw(st.integers(0, 6)) for _ in range(rank)]
    offset = draw(st.integers(0, 6))
    reach = offset + sum(
        (size - 1) * step for size, step in zip(shape, stride, strict=True) if size
    )
    if reach >= len(storage):
        return storage
    view = storage.as_strided(shape, stride, offset)
    return view.conj() if dtype.is_complex and draw(st.booleans()) else view


@settings(max_examples=60, deadline=None)
@given(
    views=st.lists(_views(), min_size=1, max_size=4),
    legacy=st.booleans(),
    size=st.sampled_from([1, 7, 16, 100, 8 << 20]),
)
def test_any_shape_stride_and_offset_is_read_as_torch_reads_it(
    views: list[torch.Tensor], legacy: bool, size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "views.pt"
        torch.save(views, path, _use_new_zipfile_serialization=not legacy)

        found = open_archive(path).tree

        expected = torch.load(path, weights_only=True)
        for lazy, tensor in zip(found, expected, strict=True):
            parts = list(lazy.chunks(size))
            assert b"".join(parts) == bits(tensor)[2]
            assert max(map(len, parts), default=0) <= max(size, lazy.itemsize)
            assert bits(lazy.load()) == bits(tensor)


@settings(max_examples=50, deadline=None)
@given(
    view=_views(),
    window=st.integers(1, 400),
    gap=st.sampled_from([0, 3, 40, 1000]),
    slab=st.integers(1, 200),
)
def test_small_reading_windows_change_nothing(
    view: torch.Tensor, window: int, gap: int, slab: int
) -> None:
    """Strided elements are read in windows of 8 MiB and put in order 16 at a time; here in few."""
    buffer = io.BytesIO()
    torch.save(view, buffer)
    before = byte_source.WINDOW, byte_source.GAP, strided.SLAB
    byte_source.WINDOW, byte_source.GAP, strided.SLAB = window, gap, slab
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "view.pt"
            path.write_bytes(buffer.getvalue())
            found = b"".join(open_archive(path).tree.chunks(64))
    finally:
        byte_source.WINDOW, byte_source.GAP, strided.SLAB = before

    assert found == bits(view)[2]


def _counted(lazy: LazyTensor, monkeypatch: pytest.MonkeyPatch) -> int:
    """Count the reads of a file while a tensor is read once."""
    reads = 0
    read = LocalFile.read

    def counting(source: LocalFile, position: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        return read(source, position, length)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFile, "read", counting)
        for _ in lazy.chunks(512 << 10):
            pass
    return reads


def test_a_column_of_a_wide_matrix_costs_few_large_reads(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = torch.randn(5000, 1000)  # 20 MB, in windows of 8 MiB
    lazy = open_archive(save({"m": matrix, "c": matrix[:, 7], "s": matrix[::2, 3:6]})).tree

    assert _counted(lazy["c"], monkeypatch) == 3
    assert _counted(lazy["s"], monkeypatch) == 3
    assert bits(lazy["c"].load()) == bits(matrix[:, 7])
    assert bits(lazy["s"].load()) == bits(matrix[::2, 3:6])


def test_a_transposed_matrix_is_read_in_long_runs(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = open_archive(save({"t": torch.zeros(900, 70_000, dtype=torch.uint8).t()})).tree["t"]

    reads = _counted(lazy, monkeypatch)

    assert reads <= 4 * 900  # four slabs of 16 MiB, a run of each row


def test_aliases_share_an_identity_and_different_views_do_not(save: Save) -> None:
    flat = torch.arange(12.0)
    views = [
        flat, flat, flat[:6], flat[6:], flat[::2], flat.view(3, 4), flat.clone(),
        flat.as_strided((1, 12), (5, 1)), flat.as_strided((1, 12), (9, 1)),
    ]  # fmt: skip
    tree = open_archive(save(views)).tree

    same = [[a.identity == b.identity for b in tree] for a in tree]

    expected = [[i == j or {i, j} in ({0, 1}, {7, 8}) for j in range(9)] for i in range(9)]
    assert same == expected
    assert len({lazy.identity for lazy in tree}) == 7


def test_a_conjugate_or_negative_has_another_identity_than_what_it_is_of(save: Save) -> None:
    z = torch.randn(3, dtype=torch.complex64)
    other = z.clone()  # one storage cannot be saved as complex and as real numbers
    tree = open_archive(save([z, z.conj(), other.imag, other.conj().imag, z.conj()])).tree

    z_, conj, imag, negative, again = (lazy.identity for lazy in tree)

    assert z_ != conj == again
    assert imag != negative


def test_a_file_that_shrinks_while_it_is_read_is_an_error_not_a_signal(save: Save) -> None:
    path = save({"t": torch.zeros(1 << 16), "s": torch.zeros(300, 300).t()})
    tree = open_archive(path).tree
    os.truncate(path, 20_000)

    for lazy in tree.values():
        with pytest.raises(SourceError, match="changed while reading"):
            lazy.load()
    with pytest.raises(SourceError, match="changed while reading"):
        tree["t"].sources[0].check_unchanged()


def _flip(path: Path, needle: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(needle)
    data[at] ^= 0x40
    path.write_bytes(data)


def test_a_flipped_bit_is_found_by_the_checksum_while_copying(save: Save) -> None:
    pattern = torch.arange(7, 27, dtype=torch.int16)
    path = save({"whole": pattern})
    _flip(path, pattern.numpy().tobytes())

    lazy = open_archive(path).tree["whole"]

    assert lazy.covers_storage
    with pytest.raises(SourceError, match=r"saved/data/0: has CRC-32 \w+, \w+ was saved"):
        list(lazy.chunks(check=True))
    with pytest.raises(SourceError, match="CRC-32"):
        lazy.verify_record()


def test_a_flipped_bit_beside_a_view_is_found_too(save: Save) -> None:
    pattern = torch.arange(7, 27, dtype=torch.int16)
    path = save({"part": pattern[10:]})
    _flip(path, pattern.numpy().tobytes())

    lazy = open_archive(path).tree["part"]

    assert not lazy.covers_storage
    with pytest.raises(SourceError, match="CRC-32"):
        list(lazy.chunks(check=True))


def test_the_checksum_of_a_whole_record_is_that_of_its_tensor(save: Save) -> None:
    import zlib

    lazy = open_archive(save({"t": GRID})).tree["t"]

    assert lazy.storage.crc == zlib.crc32(b"".join(lazy.chunks()))


def test_a_checkpoint_saved_without_checksums_is_read(save: Save) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = save({"t": GRID, "s": GRID.clone().t()})
    finally:
        torch.serialization.set_crc32_options(True)

    tree = open_archive(path).tree

    assert b"".join(tree["t"].chunks(check=True)) == bits(GRID)[2]
    assert bits(tree["s"].load()) == bits(GRID.t())
    assert tree["t"].storage.crc is None


def test_big_endian_elements_come_out_little_endian(save: Save) -> None:
    tensors = [
        GRID,
        GRID.t(),
        torch.arange(3),
        torch.randn(2, dtype=torch.complex64),
        torch.ones(2).bool(),
    ]
    path = save(tensors)
    little = open_archive(path).tree

    def swapped(lazy: LazyTensor) -> LazyTensor:
        width = lazy.itemsize // (2 if lazy.dtype.startswith("complex") else 1)
        data = lazy.storage.read(0, lazy.storage.nbytes)
        turned = b"".join(data[at : at + width][::-1] for at in range(0, len(data), width))
        storage = Storage((Extent(Memory(turned), 0, len(turned)),), "", "big")
        return LazyTensor(lazy.spec, storage, lazy.offset, lazy.stride)

    found = [swapped(lazy).load() for lazy in little]

    assert [bits(tensor) for tensor in found] == [bits(tensor) for tensor in tensors]


def test_memory_stays_near_the_chunk_for_a_large_transposed_tensor(save: Save) -> None:
    import tracemalloc

    path = save({"t": torch.zeros(9000, 9000, dtype=torch.uint8).t()})  # 81 MB
    lazy = open_archive(path).tree["t"]
    tracemalloc.start()

    for part in lazy.chunks(1 << 20):
        assert len(part) <= 1 << 20

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 56 << 20  # two slabs of 16 MiB (the last piece is of the first), and windows of 8


UNREAD: dict[str, Any] = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse-csr": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.empty(2, 3, device="meta"),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", UNREAD)
def test_tensors_of_a_kind_that_is_not_read_are_named_and_spare_the_others(
    kind: str, save: Save
) -> None:
    path = save({"odd": UNREAD[kind](), "plain": GRID})

    tree = open_archive(path).tree

    assert bits(tree["plain"].load()) == bits(GRID)
    odd = dict(walk_tensors(tree))["odd"]
    assert kind.split("-")[0] in odd.unsupported
    with pytest.raises(SourceError, match=odd.unsupported.split()[0]):
        odd.load()


def test_reading_without_numpy_needs_none(save: Save) -> None:
    import subprocess

    path = save({"t": GRID})
    code = (
        "import sys; from convcore.formats import *; t = open_archive(sys.argv[1]).tree['t'];"
        "sum(len(part) for part in t.chunks(check=True));"
        "print(sorted({'numpy', 'torch', 'zipfile', 'tarfile', 'json'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
