"""A tensor given as boxes of other tensors: what lies in several shards, read as one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from convcore.tensors import strided
from convcore.tensors.byte_source import ByteSource, Range
from convcore.tensors.cover import check_cover
from convcore.tensors.dtypes import BY_NAME
from convcore.tensors.faults import Malformed, shown
from convcore.tensors.lazy_tensor import LazyTensor
from convcore.tensors.spec import TensorSpec, dense_stride
from convcore.tensors.storage import Extent, Piece, Storage, regrouped
from convcore.tensors.strided import boxes

if TYPE_CHECKING:
    import numpy as np


class Chunk(NamedTuple):
    """A tensor, and where its first element lies in the whole."""

    offsets: tuple[int, ...]
    tensor: LazyTensor


def assemble(
    spec: TensorSpec, chunks: Iterable[tuple[Sequence[int], LazyTensor]], *, key: str = ""
) -> LazyTensor:
    """Return a tensor that is read from boxes of others, each where it lies.

    Args:
        spec: Type and shape of the whole.
        chunks: Offsets of a box in the whole, and the tensor that fills it; in any order. Boxes
            without elements may lie anywhere inside.
        key: What messages call the whole.

    Raises:
        Malformed: A chunk is of another type, or of a kind that is not read; the boxes do not cover
            every element exactly once. No byte is read to find out, and nothing is allocated.
    """
    if spec.dtype not in BY_NAME:
        raise Malformed(f"a tensor of type {spec.dtype} is not put together of chunks")
    parts = []
    for offsets, tensor in chunks:
        if tensor.dtype != spec.dtype or tensor.unsupported is not None:
            said = tensor.unsupported or f"of type {tensor.dtype}"
            raise Malformed(f"a chunk of a {spec.dtype} tensor is {said}")
        if not all(type(at) is int and 0 <= at < 1 << 63 for at in offsets):
            raise Malformed(f"a chunk lies at {', '.join(map(shown, offsets[:8]))}")
        parts.append(Chunk(tuple(offsets), tensor))
    check_cover(spec.shape, [(part.offsets, part.tensor.shape) for part in parts])
    parts = [part for part in parts if 0 not in part.tensor.shape]
    if not parts:
        return LazyTensor.from_bytes(spec, b"", key=key)
    if len(parts) == 1:
        return parts[0].tensor
    return LazyTensor(spec, Assembled(spec, parts, key), 0, dense_stride(spec.shape))


class Assembled(Storage):
    """The bytes of a tensor that is made of boxes of others, in logical order.

    Args:
        spec: Type and shape of the whole.
        chunks: They cover it exactly; see ``assemble``.
        key: What messages call it.
    """

    __slots__ = ("_item", "_longest", "_rows", "_starts", "chunks", "spec")

    def __init__(self, spec: TensorSpec, chunks: Iterable[Chunk], key: str = "") -> None:
        super().__init__((), key)
        self.spec = spec
        self.chunks = sorted(chunks, key=lambda chunk: chunk.offsets)
        self._item = BY_NAME[spec.dtype].itemsize
        self.nbytes = prod(spec.shape) * self._item
        self._starts = [chunk.offsets[0] for chunk in self.chunks]
        self._longest = max(chunk.tensor.shape[0] for chunk in self.chunks)
        # Cut along the first axis only, the whole is its chunks one after another.
        self._rows = all(chunk.tensor.shape[1:] == spec.shape[1:] for chunk in self.chunks)

    @property
    def sources(self) -> tuple[ByteSource, ...]:
        """What holds the chunks, each once."""
        every = (source for chunk in self.chunks for source in chunk.tensor.sources)
        return tuple({id(source): source for source in every}.values())

    @property
    def name(self) -> str:
        """What messages call the first source."""
        return self.chunks[0].tensor.storage.name

    @property
    def leaves(self) -> tuple[Extent, ...]:
        """The extents of all chunks."""
        return tuple(leaf for chunk in self.chunks for leaf in chunk.tensor.storage.leaves)

    def read(self, start: int, length: int) -> bytes:
        """Read bytes of the whole; see ``Storage.read``."""
        return b"".join(self.pieces(start, length, strided.SLAB))

    def read_many(self, ranges: Sequence[Range]) -> list[bytes]:
        """Read several ranges; see ``Storage.read_many``."""
        return [self.read(start, length) for start, length in ranges]

    def pieces(self, start: int, length: int, size: int, *, check: bool = False) -> Iterator[Piece]:
        """Yield part of the whole; see ``Storage.pieces``."""
        first, last = start // self._item, -(-(start + length) // self._item)
        dense = self._of_rows if self._rows else self._of_boxes
        cut = start - first * self._item
        if cut or length % self._item:
            data = b"".join(dense(first, last, size, check=check))
            yield from regrouped(iter([data[cut : cut + length]]), size)
        else:
            yield from regrouped(dense(first, last, size, check=check), size)

    def verify(self) -> None:
        """Compare the CRC-32 of all that the chunks lie in; see ``Storage.verify``."""
        for chunk in self.chunks:
            chunk.tensor.verify_record()

    def _of_rows(self, first: int, last: int, size: int, *, check: bool) -> Iterator[Piece]:
        row = prod(self.spec.shape[1:])
        for offsets, tensor in self._between(first // row, -(-last // row)):
            begin, count = offsets[0] * row, tensor.shape[0] * row
            here, there = max(first, begin), min(last, begin + count)
            if here < there:
                yield from tensor.span(here - begin, there - begin, size, check=check)

    def _of_boxes(self, first: int, last: int, size: int, *, check: bool) -> Iterator[Piece]:
        for start, shape in boxes(
            self.spec.shape, max(size, strided.SLAB) // self._item, first, last
        ):
            yield self._box(start, shape, check=check).reshape(-1).view("u1").data

    def _between(self, first: int, last: int) -> Iterator[Chunk]:
        """Chunks that may reach into some of the first axis."""
        low = bisect_left(self._starts, first - self._longest + 1)
        yield from self.chunks[low : bisect_right(self._starts, last - 1)]

    def _box(
        self, start: tuple[int, ...], shape: tuple[int, ...], *, check: bool
    ) -> np.ndarray[Any, Any]:
        import numpy as np

        made = np.empty(shape, f"V{self._item}")  # every element is written: the cover is exact
        for offsets, tensor in self._between(start[0], start[0] + shape[0]):
            low = tuple(map(max, start, offsets))
            ends = zip(start, shape, offsets, tensor.shape, strict=True)
            high = tuple(min(a + m, b + n) for a, m, b, n in ends)
            if any(top <= bottom for bottom, top in zip(low, high, strict=True)):
                continue
            if check:
                tensor.verify_record()
            place = tuple(
                slice(bottom - at, top - at)
                for bottom, top, at in zip(low, high, start, strict=True)
            )
            inside = tuple(bottom - at for bottom, at in zip(low, offsets, strict=True))
            part = tuple(top - bottom for bottom, top in zip(low, high, strict=True))
            made[place] = tensor.box(inside, part)
        return made
