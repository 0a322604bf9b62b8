"""Putting strided, conjugated, negated or big-endian elements into logical, little-endian order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

from convcore.archive.lazy import CHUNK, LazyTensor

if TYPE_CHECKING:
    import numpy as np

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def gathered(tensor: LazyTensor, size: int) -> Iterator[bytes]:
    """Yield a strided tensor's elements in logical order, at most ``size`` bytes at a time."""
    for start, shape in _boxes(tensor.shape, max(1, size // tensor.itemsize)):
        offset = tensor.offset + sum(
            at * step for at, step in zip(start, tensor.stride, strict=True)
        )
        yield converted(tensor, _box(tensor, offset, shape))


def _boxes(shape: tuple[int, ...], most: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Cut a shape into boxes of at most ``most`` elements that follow one another in memory."""
    inner, split = 1, len(shape)
    while split and inner * shape[split - 1] <= most:
        split -= 1
        inner *= shape[split]
    if not split:
        yield (0,) * len(shape), shape
        return
    rest = shape[split:]
    rows = max(1, most // inner)
    for outer in product(*map(range, shape[: split - 1])):
        for row in range(0, shape[split - 1], rows):
            height = min(rows, shape[split - 1] - row)
            ones = (1,) * (split - 1)
            yield (*outer, row, *(0 for _ in rest)), (*ones, height, *rest)


def _box(tensor: LazyTensor, offset: int, shape: tuple[int, ...]) -> bytes:
    """Read one box: dense runs along the small strides, one read per step of the large ones."""
    import numpy as np

    item, kind = tensor.itemsize, np.dtype(f"V{tensor.itemsize}")
    # An axis that repeats the same element is read once and broadcast.
    axes = [axis for axis, size in enumerate(shape) if size > 1 and tensor.stride[axis]]
    axes.sort(key=lambda axis: tensor.stride[axis])
    inner, span = 0, 1
    for axis in axes:
        wider = span + (shape[axis] - 1) * tensor.stride[axis]
        if wider * item > CHUNK:
            break
        inner, span = inner + 1, wider
    run_axes, step_axes = axes[:inner], axes[inner:]
    dense = np.empty([shape[axis] if axis in axes else 1 for axis in range(len(shape))], kind)
    run_shape = [shape[axis] if axis in run_axes else 1 for axis in range(len(shape))]
    run_stride = [
        tensor.stride[axis] * item if axis in run_axes else 0 for axis in range(len(shape))
    ]
    whole = (
        tensor.storage.read(0, tensor.storage.nbytes)
        if tensor.storage.packed and step_axes
        else None
    )
    for steps in product(*(range(shape[axis]) for axis in step_axes)):
        begin = offset
        place: list[int | slice] = [slice(None)] * len(shape)
        for axis, step in zip(step_axes, steps, strict=True):
            begin += step * tensor.stride[axis]
            place[axis] = slice(step, step + 1)
        begin *= item
        run = (
            tensor.storage.read(begin, span * item)
            if whole is None
            else whole[begin : begin + span * item]
        )
        dense[tuple(place)] = np.ndarray(run_shape, kind, run, strides=run_stride)
    return np.broadcast_to(dense, shape).tobytes()


def converted(tensor: LazyTensor, part: bytes | memoryview) -> bytes:
    """Return elements little endian, conjugated and negated as the tensor's flags ask."""
    if tensor.plain or (
        not (tensor.conj or tensor.neg)
        and (tensor.storage.byteorder == "little" or tensor.itemsize == 1)
    ):
        return bytes(part)
    import numpy as np

    paired = tensor.dtype.startswith("complex")
    width = tensor.itemsize // 2 if paired else tensor.itemsize
    order = ">" if tensor.storage.byteorder == "big" else "<"
    # A copy, in the little-endian order in which it is handed out.
    bits: np.ndarray[Any, Any] = np.frombuffer(part, f"{order}u{width}").astype(f"<u{width}")
    if tensor.neg and tensor.dtype in _INTEGERS:
        bits = np.negative(bits)
    elif tensor.neg:
        bits ^= np.array(1 << (8 * width - 1), f"<u{width}")
    if tensor.conj and paired:
        bits[1::2] ^= np.array(1 << (8 * width - 1), f"<u{width}")
    return bits.tobytes()
