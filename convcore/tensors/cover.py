"""Whether boxes fill a larger one exactly: decided on integers, before any byte is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from math import prod

from convcore.tensors.faults import Malformed

Box = tuple[tuple[int, ...], tuple[int, ...]]  # offsets and sizes
# Boxes that no plane divides are compared two by two; no program shards so many of them.
_MOST_TANGLED = 500
_VISITS = 64


def check_cover(
    shape: tuple[int, ...], boxes: Iterable[tuple[Sequence[int], Sequence[int]]]
) -> None:
    """Refuse boxes that do not cover every element of a shape exactly once.

    Boxes with a size of 0 cover nothing, but have to lie inside. The cost is near that of sorting
    the boxes for whatever can be divided by planes again and again (rows, grids, nested grids).

    Args:
        shape: What is to be covered; all sizes are at least 0.
        boxes: Offsets and sizes of each.

    Raises:
        Malformed: A box reaches outside, two overlap, or something is left uncovered.
    """
    full: list[Box] = []
    for offsets, sizes in boxes:
        box = tuple(offsets), tuple(sizes)
        if len(box[0]) != len(shape) or len(box[1]) != len(shape):
            raise Malformed(f"a chunk of {len(box[1])} axes is part of a tensor of {len(shape)}")
        if any(at + size > most for at, size, most in zip(*box, shape, strict=True)):
            raise Malformed(f"{_said(box)} reaches outside its tensor of shape {list(shape)[:8]}")
        if 0 not in box[1]:
            full.append(box)
    volume, wanted = sum(prod(sizes) for _, sizes in full), prod(shape)
    if volume < wanted:
        raise Malformed(f"chunks are missing: they hold {volume} of {wanted} elements")
    if volume > wanted:
        raise Malformed(f"chunks overlap: they hold {volume} elements, the tensor has {wanted}")
    # All lie inside and the sum is right: what does not overlap leaves nothing uncovered.
    waiting = [full] if len(full) > 1 else []
    visits = 0
    while waiting:
        group = waiting.pop()
        visits += len(group)
        divided = next(filter(None, (_divided(group, axis) for axis in range(len(shape)))), None)
        if divided is not None:
            waiting += [part for part in divided if len(part) > 1]
        elif len(group) > _MOST_TANGLED:
            raise Malformed(f"{len(group)} chunks lie across one another")
        else:
            _check_pairs(group)
        if visits > _VISITS * len(full) + 10_000:
            raise Malformed(f"{len(full)} chunks are cut as no program cuts them")


def _divided(group: list[Box], axis: int) -> list[list[Box]] | None:
    """Divide boxes by every plane across an axis that cuts none of them; None without a plane."""
    parts: list[list[Box]] = []
    reached = -1
    for box in sorted(group, key=lambda box: box[0][axis]):
        if box[0][axis] >= reached:
            parts.append([])
        parts[-1].append(box)
        reached = max(reached, box[0][axis] + box[1][axis])
    return parts if len(parts) > 1 else None


def _check_pairs(group: list[Box]) -> None:
    for one, two in combinations(group, 2):
        if all(low < high for low, high in _common(one, two)):
            raise Malformed(f"{_said(one)} overlaps {_said(two)}")


def _common(one: Box, two: Box) -> Iterator[tuple[int, int]]:
    for a, m, b, n in zip(*one, *two, strict=True):
        yield max(a, b), min(a + m, b + n)


def _said(box: Box) -> str:
    return f"the chunk at {list(box[0])[:8]} of shape {list(box[1])[:8]}"
