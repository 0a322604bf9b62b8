"""Reading strided elements in logical order: box by box, in few large reads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from convcore.tensors import byte_source
from convcore.tensors.storage import Storage

if TYPE_CHECKING:
    import numpy as np

Box = tuple[tuple[int, ...], tuple[int, ...]]  # start and shape
# Put into logical order at once. The larger, the longer the runs that a transposed matrix is read
# in: with a few rows at a time every element of a column would be a read of its own.
SLAB = 16 << 20


def boxes(
    shape: tuple[int, ...], most: int, first: int = 0, last: int | None = None
) -> Iterator[Box]:
    """Cut elements that follow one another in logical order into boxes.

    Args:
        shape: Of the whole tensor.
        most: Elements of a box, at most.
        first: The first element, counted in logical order.
        last: The one after the last; all of them if not given.
    """
    if not shape:
        yield (), ()
        return
    last = prod(shape) if last is None else last
    inner = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    while first < last:
        # The outermost axis of which whole steps follow from here.
        axis = next(
            axis
            for axis, step in enumerate(inner)
            if step == 1 or (first % step == 0 and step <= most and last - first >= step)
        )
        step = inner[axis]
        start = tuple(first // inner[at] % shape[at] for at in range(axis + 1))
        count = min((last - first) // step, shape[axis] - start[axis], max(1, most // step))
        rest = shape[axis + 1 :]
        yield (*start, *(0 for _ in rest)), (*(1 for _ in range(axis)), count, *rest)
        first += count * step


def read_box(
    storage: Storage,
    itemsize: int,
    offset: int,
    stride: tuple[int, ...],
    shape: tuple[int, ...],
) -> np.ndarray[Any, Any]:
    """Read strided elements into an array of their own.

    Runs along the small strides are read together, gaps included where they are short.

    Args:
        storage: What holds them.
        itemsize: Bytes of an element.
        offset: The first element, in elements.
        stride: Step along each axis, in elements; 0 repeats an element, which is read once.
        shape: How many along each axis, none of them 0.

    Returns:
        Opaque elements of ``itemsize`` bytes, in logical order.
    """
    import numpy as np

    kind = np.dtype(f"V{itemsize}")
    made = np.empty(shape, kind)
    if storage.sequential:  # each read would begin at the front again
        data = storage.read(0, storage.nbytes)
        steps = [step * itemsize for step in stride]
        made[...] = np.ndarray(shape, kind, data, offset * itemsize, steps)
        return made
    counts = _read_together(shape, stride, itemsize)
    waiting: list[tuple[int, tuple[slice, ...], tuple[int, ...]]] = []
    held = 0
    for starts in product(*(range(0, shape[axis], counts[axis]) for axis in _outward(stride))):
        at = dict(zip(_outward(stride), starts, strict=True))
        place = tuple(
            slice(at[axis], min(size, at[axis] + counts[axis])) for axis, size in enumerate(shape)
        )
        begin = offset + sum(cut.start * step for cut, step in zip(place, stride, strict=True))
        part = tuple(cut.stop - cut.start for cut in place)
        waiting.append((begin, place, part))
        held += _span(part, stride) * itemsize
        if held >= byte_source.WINDOW:
            _fill(made, waiting, storage, itemsize, stride)
            waiting, held = [], 0
    _fill(made, waiting, storage, itemsize, stride)
    return made


def _outward(stride: tuple[int, ...]) -> list[int]:
    """Axes, the one of the largest steps first, so that positions ascend."""
    return sorted(range(len(stride)), key=lambda axis: -stride[axis])


def _span(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def _read_together(shape: tuple[int, ...], stride: tuple[int, ...], itemsize: int) -> list[int]:
    """How many steps of each axis one read takes: all of some, a window of one, one of the rest."""
    gap, most = byte_source.GAP // itemsize, max(1, byte_source.WINDOW // itemsize)
    counts = [size if not step else 1 for size, step in zip(shape, stride, strict=True)]
    span = 1
    for axis in reversed(_outward(stride)):
        size, step = shape[axis], stride[axis]
        if size == 1 or not step:
            continue
        if step - span > gap:
            break
        counts[axis] = max(1, min(size, (most - span) // step + 1))
        span += (counts[axis] - 1) * step
        if counts[axis] < size:
            break
    return counts


def _fill(
    made: np.ndarray[Any, Any],
    waiting: list[tuple[int, tuple[slice, ...], tuple[int, ...]]],
    storage: Storage,
    itemsize: int,
    stride: tuple[int, ...],
) -> None:
    import numpy as np

    steps = [step * itemsize for step in stride]
    ranges = [(at * itemsize, _span(part, stride) * itemsize) for at, _, part in waiting]
    for data, (_, place, part) in zip(storage.read_many(ranges), waiting, strict=True):
        made[place] = np.ndarray(part, made.dtype, data, strides=steps)
