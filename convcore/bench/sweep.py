"""Sizes to time a graph at: every combination of what was asked for its dynamic axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from convcore.errors import UsageError
from convcore.layouts.example_inputs import dynamic_axes
from convcore.layouts.graph import Size
from convcore.names import nearest

if TYPE_CHECKING:
    from convcore.layouts.graph import Graph

BATCH = "batch"


def sweep(
    axes: Sequence[str], sizes: Mapping[str, Sequence[int]], other: int
) -> list[dict[str, int]]:
    """Return every combination of sizes for these axes, smallest first; ``[{}]`` for no axes.

    Args:
        axes: Names of a graph's dynamic axes.
        sizes: Axis name to the sizes to try; axes that the graph lacks are passed over.
        other: Size of an axis that ``sizes`` does not name; 1 for the batch. An axis of which not
            every size is legal gets the next that is.
    """
    chosen = [sizes.get(axis) or (_legal(axis, 1 if axis == BATCH else other),) for axis in axes]
    cases = {tuple(case) for case in product(*chosen)}
    return [dict(zip(axes, case, strict=True)) for case in sorted(cases)]


def check_axes(graphs: Iterable[Graph], sizes: Mapping[str, Sequence[int]]) -> None:
    """Refuse a size for an axis that none of the graphs has.

    Raises:
        UsageError: An axis is unknown; the known ones are listed. The batch is always known.
    """
    known = {axis for graph in graphs for axis in dynamic_axes(graph)}
    for axis in sizes:
        if axis != BATCH and axis not in known:
            raise UsageError(
                f"no graph here has a dynamic axis {axis!r}",
                seen=(f"dynamic axes: {', '.join(sorted(known)) or 'none'}", *nearest(axis, known)),
                remedy="name one of them with --size AXIS=N",
            )


def _legal(axis: str, size: int) -> int:
    return axis.legal(size) if isinstance(axis, Size) else size
