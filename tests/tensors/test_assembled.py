"""A tensor in chunks of other tensors is read as torch puts it together, whatever the grid."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from convcore.engine.difference import compare
from convcore.errors import SourceError
from convcore.formats import open_archive
from convcore.targets.weights import groups, prove, torch_zip
from convcore.targets.weights.files import crc_of
from convcore.tensors import (
    Assembled,
    Extent,
    LazyTensor,
    LocalFile,
    Memory,
    TensorSpec,
    assemble,
    strided,
)
from convcore.tensors.cover import check_cover
from convcore.tensors.faults import Malformed
from tests.formats.conftest import Save, bits

Cut = tuple[tuple[int, ...], torch.Tensor]


def cuts_of(whole: torch.Tensor, *places: Sequence[int]) -> list[Cut]:
    """Cut a tensor along each axis at some places."""
    edges = [[0, *at, size] for at, size in zip(places, whole.shape, strict=True)]
    spans = [list(pairwise(edge)) for edge in edges]
    return [
        (tuple(low for low, _ in box), whole[tuple(slice(*span) for span in box)].clone())
        for box in product(*spans)
    ]


def assembled(whole: torch.Tensor, cuts: list[Cut], save: Save) -> LazyTensor:
    tree = open_archive(save([tensor for _, tensor in cuts])).tree
    spec = TensorSpec(str(whole.dtype)[6:], tuple(whole.shape))
    return assemble(spec, [(at, lazy) for (at, _), lazy in zip(cuts, tree, strict=True)])


GRID = torch.arange(240.0).reshape(12, 20)
CUBE = torch.randn(4, 6, 5)
WHOLES: dict[str, tuple[torch.Tensor, list[Sequence[int]]]] = {
    "rows": (GRID, [(5, 9), ()]),
    "columns": (GRID, [(), (1, 2, 13)]),
    "grid": (GRID, [(3, 7), (8, 9)]),
    "last axis of three": (CUBE, [(), (), (2,)]),
    "all of three": (CUBE, [(1,), (3,), (2, 4)]),
    "uneven with empty ones": (torch.arange(7), [(2, 4, 7, 7)]),
    "bfloat16": (GRID.bfloat16(), [(6,), (10,)]),
    "bytes": (torch.arange(60, dtype=torch.uint8).reshape(6, 10), [(2,), (5,)]),
    "complex": (torch.randn(6, 4, dtype=torch.complex64), [(2,), (3,)]),
}


@pytest.mark.parametrize("name", WHOLES)
def test_a_whole_is_read_as_it_was_cut(name: str, save: Save) -> None:
    whole, places = WHOLES[name]

    lazy = assembled(whole, cuts_of(whole, *places), save)

    for size in (16, 100, 8 << 20):
        pieces = list(lazy.chunks(size, check=True))
        assert b"".join(pieces) == bits(whole)[2]
        assert all(len(piece) <= size for piece in pieces)
    assert bits(lazy.load()) == bits(whole)
    assert lazy.raw().tobytes() == bits(whole)[2]
    if whole.dtype != torch.bfloat16:
        assert np.array_equal(lazy.numpy(), whole.numpy())
    lazy.verify_record()


@st.composite
def _cut(draw: st.DrawFn) -> tuple[torch.Tensor, list[Cut]]:
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    whole = torch.randint(0, 256, shape, dtype=torch.uint8).to(
        draw(st.sampled_from([torch.uint8, torch.int32, torch.float64]))
    )
    boxes = [(tuple(0 for _ in shape), tuple(shape))]
    for _ in range(draw(st.integers(0, 6))):  # guillotine cuts of one box after another
        at, size = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        cut = draw(st.integers(0, size[axis]))
        for start, length in ((at[axis], cut), (at[axis] + cut, size[axis] - cut)):
            boxes.append(
                ((*at[:axis], start, *at[axis + 1 :]), (*size[:axis], length, *size[axis + 1 :]))
            )
    cuts = []
    for at, size in draw(st.permutations(boxes)):
        part = whole[tuple(slice(a, a + n) for a, n in zip(at, size, strict=True))].clone()
        order = draw(st.permutations(range(part.dim())))
        laid = part.permute(order).contiguous().permute([order.index(a) for a in range(len(order))])
        cuts.append((at, laid))
    return whole, cuts


@settings(max_examples=60, deadline=None)
@given(cut=_cut(), slab=st.sampled_from([1, 8, 50, 1 << 20]), size=st.sampled_from([8, 24, 4096]))
def test_any_boxes_in_any_order_and_layout_make_the_whole(
    cut: tuple[torch.Tensor, list[Cut]], slab: int, size: int, tmp_path_factory: Any
) -> None:
    whole, cuts = cut
    path = tmp_path_factory.mktemp("cut") / "cuts.pt"
    torch.save([tensor for _, tensor in cuts], path)
    tree = open_archive(path).tree
    spec = TensorSpec(str(whole.dtype)[6:], tuple(whole.shape))
    before, strided.SLAB = strided.SLAB, slab
    try:
        lazy = assemble(spec, [(at, t) for (at, _), t in zip(cuts, tree, strict=True)])
        assert b"".join(lazy.chunks(size, check=True)) == bits(whole)[2]
        middle = whole.numel() // 2
        assert b"".join(lazy.span(middle, whole.numel(), size)) == bits(whole.flatten()[middle:])[2]
    finally:
        strided.SLAB = before


def test_a_view_of_a_whole_is_read_too(save: Save) -> None:
    lazy = assembled(GRID, cuts_of(GRID, (5,), (7, 8)), save)

    view = LazyTensor(TensorSpec("float32", (20, 11)), lazy.storage, 20, (1, 20))

    assert bits(view.load()) == bits(GRID[1:].t())


def test_it_is_written_proved_compared_and_told_apart_as_any_tensor(
    save: Save, tmp_path: Path
) -> None:
    cuts = cuts_of(GRID, (5,), (7, 8))
    lazy = assembled(GRID, cuts, save)
    tree = {"whole": lazy, "again": lazy, "other": assembled(GRID + 1, cuts, save)}
    torch_zip.write(tmp_path / "copy.pt", tree)

    assert prove(tmp_path / "copy.pt", tree).passed
    loaded = torch.load(tmp_path / "copy.pt", weights_only=True)
    assert torch.equal(loaded["whole"], GRID)
    assert loaded["whole"].data_ptr() == loaded["again"].data_ptr()
    assert [(first, aliases) for first, aliases in groups(tree)] == [
        ("whole", ["again"]),
        ("other", []),
    ]
    written = open_archive(tmp_path / "copy.pt").tree["whole"]
    assert compare(lazy, written) is None
    assert crc_of(lazy) == written.storage.crc


@pytest.mark.parametrize("place", [(0, 0), (4, 19), (11, 7)])
def test_one_other_element_of_what_was_written_is_found(
    place: tuple[int, int], save: Save, tmp_path: Path
) -> None:
    from convcore.errors import VerificationError

    lazy = assembled(GRID, cuts_of(GRID, (5,), (7, 8)), save)
    other = GRID.clone()
    other[place] += 1
    torch.save({"t": other}, tmp_path / "copy.pt")

    with pytest.raises(VerificationError, match="other bytes"):
        prove(tmp_path / "copy.pt", {"t": lazy})


@pytest.mark.parametrize("axis", [0, 1])
def test_a_flipped_bit_in_a_chunk_is_found_by_its_checksum(axis: int, save: Save) -> None:
    whole = torch.arange(9000.0).reshape(90, 100)
    places: list[Sequence[int]] = [(45,), ()] if axis == 0 else [(), (50,)]
    lazy = assembled(whole, cuts_of(whole, *places), save)
    path = Path(lazy.place[0])
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(8999).tobytes())] ^= 1
    path.write_bytes(data)
    fresh = assemble(
        lazy.spec,
        [
            (chunk.offsets, tensor)
            for chunk, tensor in zip(lazy.storage.chunks, open_archive(path).tree, strict=True)
        ],
    )

    with pytest.raises(SourceError, match="CRC-32"):
        list(fresh.chunks(check=True))
    with pytest.raises(SourceError, match="CRC-32"):
        fresh.verify_record()


def test_columns_are_read_in_few_reads_and_bounded_memory(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torch.randn(5000, 2000)  # 40 MB
    lazy = assembled(whole, cuts_of(whole, (), range(100, 2000, 100)), save)
    reads = 0
    read = LocalFile.read

    def counting(source: LocalFile, position: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        return read(source, position, length)

    monkeypatch.setattr(LocalFile, "read", counting)
    tracemalloc.start()
    for piece in lazy.chunks(512 << 10):
        assert len(piece) <= 512 << 10
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert reads <= 3 * 20  # three slabs of 16 MiB, a run of each of the 20 chunks
    assert peak < 56 << 20


def test_a_whole_in_one_chunk_is_that_chunk_and_an_empty_one_needs_none() -> None:
    one = LazyTensor.from_bytes(TensorSpec("uint8", (2, 3)), b"abcdef")
    nothing = TensorSpec("float32", (0, 4))

    assert assemble(one.spec, [((0, 0), one)]) is one
    assert b"".join(assemble(nothing, []).chunks()) == b""


def test_a_tensor_lies_in_extents_one_after_another() -> None:
    memory = Memory(b"--abc-defgh", "memory")
    extents = [Extent(memory, 2, 3), Extent(memory, 6, 5)]

    lazy = LazyTensor.from_extents(TensorSpec("int16", (4,)), extents)

    assert b"".join(lazy.chunks(2)) == b"abcdefgh"
    assert all(len(piece) == 2 for piece in lazy.chunks(2))
    assert lazy.storage.read(2, 4) == b"cdef"
    with pytest.raises(SourceError, match="takes 10 bytes, not 8"):
        LazyTensor.from_extents(TensorSpec("int16", (5,)), extents)


Boxes = list[tuple[tuple[int, ...], tuple[int, ...]]]
WRONG: dict[str, tuple[tuple[int, ...], Boxes, str]] = {
    "missing": ((4, 4), [((0, 0), (2, 4))], "missing"),
    "nothing at all": ((4,), [], "missing"),
    "twice": ((4,), [((0,), (4,)), ((0,), (4,))], "overlap"),
    "overlap with the right volume": (
        (4, 4), [((0, 0), (2, 4)), ((1, 0), (2, 4))], "overlaps",
    ),
    "overlap in a corner": (
        (4, 4), [((0, 0), (3, 3)), ((2, 2), (2, 2)), ((3, 0), (1, 2)), ((0, 3), (1, 1))], "overlap",
    ),
    "outside": ((4,), [((2,), (3,))], "outside"),
    "an empty one outside": ((4,), [((0,), (4,)), ((5,), (0,))], "outside"),
    "of other axes": ((4, 4), [((0,), (4,))], "axes"),
    "a scalar twice": ((), [((), ()), ((), ())], "overlap"),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "boxes", "words"), WRONG.values(), ids=WRONG)
def test_boxes_that_do_not_cover_exactly_are_refused(
    shape: tuple[int, ...], boxes: Boxes, words: str
) -> None:
    with pytest.raises(Malformed, match=words):
        check_cover(shape, boxes)


@settings(max_examples=200, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(
            st.tuples(st.integers(0, 3), st.integers(0, 3)),
            st.tuples(st.integers(0, 4), st.integers(0, 4)),
        ),
        max_size=6,
    )
)
def test_the_cover_is_decided_as_by_counting_every_element(boxes: Boxes) -> None:
    counts = np.zeros((4, 4), int)
    inside = all(at + n <= 4 for box in boxes for at, n in zip(*box, strict=True))
    for at, size in boxes:
        counts[at[0] : at[0] + size[0], at[1] : at[1] + size[1]] += 1
    right = inside and (counts == 1).all()

    try:
        check_cover((4, 4), boxes)
        found = True
    except Malformed:
        found = False

    assert found == right


def test_a_pinwheel_that_no_plane_divides_is_a_cover() -> None:
    pinwheel: Boxes = [
        ((0, 0), (1, 2)), ((0, 2), (2, 1)), ((2, 1), (1, 2)), ((1, 0), (2, 1)), ((1, 1), (1, 1)),
    ]  # fmt: skip

    check_cover((3, 3), pinwheel)


def test_a_hundred_thousand_chunks_of_an_immense_tensor_are_decided_at_once() -> None:
    side, step = 1 << 40, 1 << 30
    grid = [((a * step, b * step), (step, step)) for a in range(317) for b in range(317)]

    check_cover((317 * step, 317 * step), grid)
    with pytest.raises(Malformed, match="missing"):
        check_cover((side, side), grid)


REFUSED: dict[str, tuple[Any, str]] = {
    "another type": (LazyTensor.from_bytes(TensorSpec("int32", (2,)), bytes(8)), "of type int32"),
    "a kind that is not read": (
        LazyTensor(TensorSpec("float32", (2,)), LazyTensor.from_bytes(
            TensorSpec("float32", (0,)), b"").storage, 0, (1,), unsupported="sparse"),
        "is sparse",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("chunk", "words"), REFUSED.values(), ids=REFUSED)
def test_chunks_that_do_not_fit_the_whole_are_refused(chunk: LazyTensor, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        assemble(TensorSpec("float32", (2,)), [((0,), chunk)])


@pytest.mark.parametrize(
    ("chunks", "words"), [([0], "missing"), ([0, 1], "overlap"), ([0, 2, 3], "outside")]
)
def test_a_whole_with_a_hole_or_an_overlap_is_not_put_together(
    chunks: list[int], words: str
) -> None:
    part = LazyTensor.from_bytes(TensorSpec("uint8", (2,)), b"ab")
    spec = TensorSpec("uint8", (3 if words == "overlap" else 4,))

    with pytest.raises(Malformed, match=words):
        assemble(spec, [((at,), part) for at in chunks])


@pytest.mark.parametrize("at", [-1, True, 1.0, 1 << 63])
def test_offsets_are_whole_numbers(at: Any) -> None:
    chunk = LazyTensor.from_bytes(TensorSpec("uint8", (2,)), b"ab")

    with pytest.raises(Malformed, match="a chunk lies at"):
        assemble(TensorSpec("uint8", (2,)), [((at,), chunk)])


def test_the_sources_of_all_chunks_are_known(save: Save) -> None:
    halves = [open_archive(save(GRID[:6].clone(), "a.pt")), open_archive(save(GRID[6:], "b.pt"))]

    lazy = assemble(
        TensorSpec("float32", (12, 20)), [((0, 0), halves[0].tree), ((6, 0), halves[1].tree)]
    )

    assert isinstance(lazy.storage, Assembled)
    assert [Path(source.name).name for source in lazy.sources] == ["a.pt", "b.pt"]
