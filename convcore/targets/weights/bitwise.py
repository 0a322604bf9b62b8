"""Comparing the bits of two tensors by a way of its own, in which no fault of copying can cancel.

What copies tensors is not used here: no ``chunks``, ``identity`` or ``contiguous``. Taken is only
what a file says of a tensor: type, shape, stride, flags, and where its storage lies.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import attrs

from convcore.tensors import Assembled, LazyTensor, Storage
from convcore.tensors.dtypes import BY_NAME

if TYPE_CHECKING:
    import numpy as np

_PIECE = 512 << 10
# Of storage looked at at once, on each side, where elements lie in another order.
_WINDOW = 32 << 20
_PACKED_STEP = 16 << 10  # deflate cannot make more than 16 MiB of it


def place_of(tensor: LazyTensor) -> tuple[Any, ...]:
    """All that is said of where a tensor's elements lie: alike for two, they are the same."""
    return (
        id(tensor.storage), tensor.spec, tensor.offset, tensor.stride, tensor.conj, tensor.neg,
    )  # fmt: skip


def same_bits(written: LazyTensor, source: LazyTensor) -> bool:
    """Whether two tensors of one type and shape hold the same bits in the same places.

    Memory is bounded, whatever the strides. The source's CRC-32 is compared on the way, and that
    of what was written where both tensors fill their storages.

    Raises:
        SourceError: The CRC-32 of the source's storage does not fit its bytes, or it changed.
    """
    if not prod(source.shape):
        return True
    if isinstance(source.storage, Assembled) and source.nbytes == source.storage.nbytes:
        return _same_as_chunks(written, source, source.storage)
    if not _in_order(source) or not _in_order(written):
        source.storage.verify()
        return _same_in_any_order(written, source)
    size = prod(source.shape) * BY_NAME[source.dtype].itemsize
    lone = source.storage.leaves[0] if len(source.storage.leaves) == 1 else None
    whole = lone is not None and lone.nbytes == size
    if not whole:
        source.storage.verify()
    crc = 0
    here, there = _Run(source), _Run(written)
    for start in range(0, size, _PIECE):
        length = min(_PIECE, size - start)
        piece = here.take(length)
        if there.take(length) != piece:
            return False
        if whole:
            crc = zlib.crc32(piece, crc)
    if lone is None or not whole:
        return True
    source.storage.settle(crc)
    return written.storage.nbytes != size or written.storage.crc in (None, crc)


def _same_as_chunks(written: LazyTensor, source: LazyTensor, whole: Assembled) -> bool:
    """Compare each chunk with the box of what was written that it has to fill.

    That the boxes fill everything was decided on their offsets and sizes (``check_cover``).
    """
    if not _in_order(source):
        source.storage.verify()
        return _same_in_any_order(written, source)
    return all(
        same_bits(
            attrs.evolve(
                written,
                spec=tensor.spec,
                offset=written.offset + _reach(offsets, written.stride),
            ),
            tensor,
        )
        for offsets, tensor in whole.chunks
    )


def _in_order(tensor: LazyTensor) -> bool:
    """Whether its bits lie one after another, the last axis fastest, as they are meant."""
    expected = 1
    for size, step in zip(tensor.shape[::-1], tensor.stride[::-1], strict=True):
        if size > 1 and step != expected:
            return False
        expected *= size
    swapped = tensor.storage.byteorder == "big" and BY_NAME[tensor.dtype].itemsize > 1
    return not (tensor.conj or tensor.neg or swapped)


class _Run:
    """Bytes of a storage from a tensor's first element on, taken in order."""

    def __init__(self, tensor: LazyTensor) -> None:
        self._storage = tensor.storage
        self._at = tensor.offset * BY_NAME[tensor.dtype].itemsize
        self._inflated = _inflated(self._storage) if _packed(self._storage) else None
        self._ahead = bytearray()

    def take(self, length: int) -> bytes:
        start, self._at = self._at, self._at + length
        if self._inflated is None:
            return _bytes(self._storage, start, length)
        if not self._ahead and start:
            self._fill(start)
            del self._ahead[:start]
        self._fill(length)
        taken = bytes(self._ahead[:length])
        del self._ahead[:length]
        return taken

    def _fill(self, length: int) -> None:
        while len(self._ahead) < length and self._inflated is not None:
            piece = next(self._inflated, None)
            if piece is None:
                return
            self._ahead += piece


def _packed(storage: Storage) -> bool:
    return any(extent.packed for extent in storage.extents)


def _bytes(storage: Storage, start: int, length: int) -> bytes:
    """Bytes of a storage that can be read from anywhere."""
    if not storage.extents:  # a view of what was put together of chunks
        return storage.read(start, length)
    found, begin = b"", 0
    for extent in storage.extents:
        low, high = max(start, begin), min(start + length, begin + extent.nbytes)
        if low < high:
            part = extent.source.read(extent.position + low - begin, high - low)
            found = part if not found else found + part
        begin += extent.nbytes
    return found


def _inflated(storage: Storage) -> Iterator[bytes]:
    for extent in storage.extents:
        engine = zlib.decompressobj(-15)
        packed = extent.packed or extent.nbytes
        for start in range(0, packed, _PACKED_STEP):
            length = min(_PACKED_STEP, packed - start)
            data = extent.source.read(extent.position + start, length)
            yield engine.decompress(data) if extent.packed else data


def _same_in_any_order(written: LazyTensor, source: LazyTensor) -> bool:
    import numpy as np

    here, there = _View(source), _View(written)
    logical = tuple(prod(source.shape[axis + 1 :]) for axis in range(len(source.shape)))
    most = max(1, _WINDOW // BY_NAME[source.dtype].itemsize)
    return all(
        np.array_equal(there.bits(start, shape), here.bits(start, shape))
        for start, shape in _boxes(source.shape, (source.stride, written.stride, logical), most)
    )


class _View:
    """A tensor's bits as unsigned integers, box by box."""

    def __init__(self, tensor: LazyTensor) -> None:
        self._tensor = tensor
        self._item = BY_NAME[tensor.dtype].itemsize
        self._complex = tensor.dtype.startswith("complex")
        storage = tensor.storage
        self._held = b"".join(_inflated(storage)) if _packed(storage) else None

    def bits(self, start: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        import numpy as np

        tensor, item = self._tensor, self._item
        first = tensor.offset + _reach(start, tensor.stride)
        length = 1 + _reach(tuple(size - 1 for size in shape), tensor.stride)
        if self._held is None:
            data = _bytes(tensor.storage, first * item, length * item)
        else:
            data = self._held[first * item : (first + length) * item]
        parts = 2 if self._complex else 1
        order = ">" if tensor.storage.byteorder == "big" else "<"
        steps = (*(step * item for step in tensor.stride), item // parts)
        kind = f"{order}u{item // parts}"
        found: np.ndarray[Any, Any] = np.ndarray((*shape, parts), kind, data, strides=steps)
        if not (tensor.conj or tensor.neg):
            return found
        found = found.astype(f"u{item // parts}")
        top = np.array(1 << (8 * item // parts - 1), found.dtype)
        if tensor.neg and tensor.dtype.startswith(("int", "uint")):
            found = np.zeros((), found.dtype) - found
        elif tensor.neg:
            found += top  # which wraps: the sign bit alone changes
        if tensor.conj and self._complex:
            found[..., 1] += top
        return found


def _reach(places: tuple[int, ...], steps: tuple[int, ...]) -> int:
    return sum(at * step for at, step in zip(places, steps, strict=True))


def _boxes(
    shape: tuple[int, ...], orders: tuple[tuple[int, ...], ...], most: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Halve a shape until each box spans at most ``most`` elements in every order of strides."""
    waiting = [((0,) * len(shape), shape)]
    while waiting:
        start, box = waiting.pop()
        last = tuple(size - 1 for size in box)
        widest = max(orders, key=lambda steps: _reach(last, steps))
        if _reach(last, widest) < most:
            yield start, box
            continue
        axis = max(range(len(box)), key=lambda axis: last[axis] * widest[axis])
        half = box[axis] // 2
        for at, size in ((start[axis], half), (start[axis] + half, box[axis] - half)):
            waiting.append(
                (
                    (*start[:axis], at, *start[axis + 1 :]),
                    (*box[:axis], size, *box[axis + 1 :]),
                )
            )
