"""What a tensor is without its numbers."""

from __future__ import annotations

import attrs


@attrs.frozen
class TensorSpec:
    """A tensor without its numbers: torch's dtype name (``float32``) and its shape."""

    dtype: str
    shape: tuple[int, ...]


def dense_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Steps, in elements, of a tensor whose elements lie in logical order without holes."""
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(step)
        step *= size
    return tuple(reversed(steps))
