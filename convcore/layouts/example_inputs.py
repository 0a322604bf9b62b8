"""Inputs made up for a graph: seeded, legal, and of more than one size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from convcore.layouts.graph import Size

if TYPE_CHECKING:
    import numpy as np

    from convcore.layouts.graph import Axis, Graph

    Array = np.ndarray[Any, Any]

Kind = Literal["normal", "zeros", "constant"]

_CONSTANT = 0.5
# Beyond the sizes at which people let networks decide otherwise (512, 500, 64); tried where cheap.
_LARGE = (517, 67)


@attrs.frozen
class Sizes:
    """Sizes of a graph's dynamic axes, by axis name.

    Attributes:
        traced: For the exporter: at least 2 everywhere, since a size of 1 can freeze an axis, and
            all different, so that no two axes are taken for one.
        others: At least two more sizes of every axis, its smallest among them.
    """

    traced: Mapping[str, int]
    others: tuple[Mapping[str, int], ...]


def dynamic_axes(graph: Graph) -> tuple[str, ...]:
    """Return the names of the input axes that may vary, in order of appearance."""
    return tuple(dict.fromkeys(size for size in _named_sizes(graph)))


def legal_size(graph: Graph, name: str, size: int) -> int:
    """Return the smallest size of an axis, not below ``size``, that every input allows."""
    bounds = [one for one in _named_sizes(graph) if one == name and isinstance(one, Size)]
    while any(one.legal(size) != size for one in bounds):
        size = max(one.legal(size) for one in bounds)
    return size


def sizes_for(graph: Graph) -> Sizes:
    """Choose the sizes a graph is traced and tried with."""
    names = dynamic_axes(graph)
    traced: dict[str, int] = {}
    small, large = {}, {}
    for place, name in enumerate(names):
        least = legal_size(graph, name, 1)
        size = legal_size(graph, name, max(2 + place, least + 1))
        while size in traced.values():
            size = legal_size(graph, name, size + 1)
        traced[name] = size
        beyond = legal_size(graph, name, 5 + place if least == 1 else size + 1)
        # Each axis meets its smallest and a larger size, and not all of them at the same time.
        if place % 2 == 0:
            small[name], large[name] = least, beyond
        else:
            small[name] = legal_size(graph, name, 7 + place if least == 1 else size + 1)
            large[name] = least
    asked = [
        {**traced, name: size}
        for name in names
        for size in dict.fromkeys(
            size for one in _named_sizes(graph) if one == name and isinstance(one, Size)
            for size in one.check
        )
    ]  # fmt: skip
    return Sizes(traced, (small, large, *asked) if names else ())


def large_sizes(graph: Graph, times: float) -> list[dict[str, int]]:
    """Return a large size of each dynamic axis by itself, where one is cheap.

    Args:
        graph: Whose axes.
        times: How much larger than the inputs traced the inputs may be.
    """
    traced = sizes_for(graph).traced
    found = []
    for name, small in traced.items():
        sizes = [legal_size(graph, name, size) for size in _LARGE]
        cheap = [size for size in sizes if size <= times * small]
        found += [{**traced, name: size} for size in cheap[:1]]
    return found


def draw(
    graph: Graph,
    sizes: Mapping[str, int],
    seed: int = 0,
    kind: Kind = "normal",
    limits: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Make one example of every input; the same arguments give the same numbers.

    Args:
        graph: Whose inputs to make.
        sizes: A size for each dynamic axis.
        seed: Chooses the numbers.
        kind: ``zeros`` and ``constant`` (0.5, or 1 for integers) bring out what normal numbers
            hide; an input that has a ``sample`` of its own is always drawn by it, because there
            not every number is legal.
        limits: For inputs of integers without a ``sample``: for each place, the number that all
            legal ones are below; see ``convcore.verification.lookups``. Without them 0 and 1 are
            drawn.

    Returns:
        Input name to array, C-contiguous, in the axis' dtype.
    """
    import numpy as np

    return {
        axis.name: _fill(
            axis, sizes, np.random.default_rng([seed, place]), kind, (limits or {}).get(axis.name)
        )
        for place, axis in enumerate(graph.inputs)
    }


def _fill(
    axis: Axis, sizes: Mapping[str, int], rng: np.random.Generator, kind: Kind, limits: Array | None
) -> Array:
    import numpy as np

    shape = tuple(sizes[size] if isinstance(size, str) else size for size in axis.shape)
    whole = not np.issubdtype(np.dtype(axis.dtype), np.floating)
    if axis.sample is not None:
        array = np.asarray(axis.sample(rng, shape))
    elif kind == "zeros":
        array = np.zeros(shape)
    elif kind == "constant":
        array = np.full(shape, 1 if whole else _CONSTANT)
        array = array if limits is None else np.minimum(array, limits - 1)
    elif whole and limits is not None:
        array = _spread(rng, limits)
    else:
        array = rng.integers(0, 2, shape) if whole else rng.standard_normal(shape)
    return np.ascontiguousarray(array, dtype=axis.dtype).reshape(shape)


def _spread(rng: np.random.Generator, limits: Array) -> Array:
    """Draw each place below its limit; as few numbers as possible come twice, both ends do come."""
    import numpy as np

    drawn = np.zeros(limits.shape, np.int64)
    for limit in np.unique(limits):
        places = np.flatnonzero(limits == limit)
        whole, left = divmod(len(places), int(limit))
        numbers = np.concatenate(
            [np.tile(np.arange(limit), whole), rng.choice(int(limit), left, replace=False)]
        )
        rng.shuffle(numbers)
        for end in (0, int(limit) - 1):
            if end not in numbers and len(numbers) > 2:
                numbers[rng.integers(len(numbers))] = end
        drawn.flat[places] = numbers
    return drawn


def _named_sizes(graph: Graph) -> list[str]:
    return [size for axis in graph.inputs for size in axis.shape if isinstance(size, str)]
