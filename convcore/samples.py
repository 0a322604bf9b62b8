"""Inputs made up for a graph: seeded, legal, and of more than one size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    import numpy as np

    from convcore.model import Axis, Graph

Kind = Literal["normal", "zeros", "constant"]

_CONSTANT = 0.5


@attrs.frozen
class Sizes:
    """Sizes of a graph's dynamic axes, by axis name.

    Attributes:
        traced: For the exporter: at least 2 everywhere, since a size of 1 can freeze an axis, and
            all different, so that no two axes are taken for one.
        others: At least two more sizes of every axis, 1 among them.
    """

    traced: Mapping[str, int]
    others: tuple[Mapping[str, int], ...]


def dynamic_axes(graph: Graph) -> tuple[str, ...]:
    """Return the names of the input axes that may vary, in order of appearance."""
    sizes = [size for axis in graph.inputs for size in axis.shape if isinstance(size, str)]
    return tuple(dict.fromkeys(sizes))


def sizes_for(graph: Graph) -> Sizes:
    """Choose the sizes a graph is traced and tried with."""
    names = dynamic_axes(graph)
    traced = {name: 2 + place for place, name in enumerate(names)}
    # Each axis meets 1 and a larger size, and not all of them meet 1 at the same time.
    small = {name: 1 if place % 2 == 0 else 7 + place for place, name in enumerate(names)}
    large = {name: 5 + place if place % 2 == 0 else 1 for place, name in enumerate(names)}
    return Sizes(traced, (small, large) if names else ())


def draw(
    graph: Graph, sizes: Mapping[str, int], seed: int = 0, kind: Kind = "normal"
) -> dict[str, np.ndarray[Any, Any]]:
    """Make one example of every input; the same arguments give the same numbers.

    Args:
        graph: Whose inputs to make.
        sizes: A size for each dynamic axis.
        seed: Chooses the numbers.
        kind: ``zeros`` and ``constant`` (0.5, or 1 for integers) bring out what normal numbers
            hide; an input that has a ``sample`` of its own is always drawn by it, because there
            not every number is legal.

    Returns:
        Input name to array, C-contiguous, in the axis' dtype.
    """
    import numpy as np

    return {
        axis.name: _fill(axis, sizes, np.random.default_rng([seed, place]), kind)
        for place, axis in enumerate(graph.inputs)
    }


def _fill(
    axis: Axis, sizes: Mapping[str, int], rng: np.random.Generator, kind: Kind
) -> np.ndarray[Any, Any]:
    import numpy as np

    shape = tuple(sizes[size] if isinstance(size, str) else size for size in axis.shape)
    whole = not np.issubdtype(np.dtype(axis.dtype), np.floating)
    if axis.sample is not None:
        array = np.asarray(axis.sample(rng, shape))
    elif kind == "zeros":
        array = np.zeros(shape)
    elif kind == "constant":
        array = np.full(shape, 1 if whole else _CONSTANT)
    else:
        array = rng.integers(0, 2, shape) if whole else rng.standard_normal(shape)
    return np.ascontiguousarray(array, dtype=axis.dtype).reshape(shape)
