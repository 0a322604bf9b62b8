"""The trials of a comparison: with which sizes and kinds of inputs a graph is tried."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import attrs

from convcore.layouts.example_inputs import draw, large_sizes, sizes_for
from convcore.targets.networks import run
from convcore.verification.lookups import limits, needs_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch

    from convcore.layouts.example_inputs import Kind
    from convcore.layouts.graph import Graph

# Multiplications of a run that is cheap: tens of milliseconds.
_CHEAP = 50_000_000


@attrs.frozen
class Trial:
    """One input of a comparison.

    Attributes:
        sizes: By dynamic axis.
        kind: Of its numbers.
        seed: Of its numbers.
        exact: Whether the network computes it in float64 too, which costs most of a comparison.
    """

    sizes: Mapping[str, int]
    kind: Kind = "normal"
    seed: int = 0
    exact: bool = True

    def __str__(self) -> str:
        """Kind and sizes, in words."""
        return ", ".join([self.kind, *(f"{name} {size}" for name, size in self.sizes.items())])


def trials(module: torch.nn.Module, graph: Graph, seed: int = 0) -> Iterator[Trial]:
    """Yield two seeds, all other sizes, zeros, a constant, and large sizes where they are cheap.

    Args:
        module: The network; it runs once, so that it is known what a run costs.
        graph: What it computes.
        seed: The first of the seeds.
    """
    sizes = sizes_for(graph)
    others = sizes.others or ({}, {})
    # The first of the others is small.
    effort = _effort(module, graph, inputs_of(Trial(others[0], seed=seed), module, graph))
    effort *= prod(sizes.traced.values()) / prod(others[0].values())
    cheap = effort <= _CHEAP
    yield Trial(sizes.traced, seed=seed)
    yield Trial(sizes.traced, seed=seed + 1, exact=cheap)
    for number, other in enumerate(others):
        yield Trial(other, seed=seed + 2 + number, exact=cheap or number == 0)
    yield Trial(sizes.traced, "zeros", seed, cheap)
    yield Trial(sizes.traced, "constant", seed, cheap)
    for number, large in enumerate(large_sizes(graph, _CHEAP / max(1, effort))):
        yield Trial(large, seed=seed + 100 + number)


def inputs_of(
    trial: Trial, module: torch.nn.Module, graph: Graph
) -> dict[str, np.ndarray[Any, Any]]:
    """Draw the inputs of a trial; integers from all that the network's tables have rows for."""
    legal = None
    if needs_limits(graph):
        legal = limits(module, graph, draw(graph, trial.sizes, trial.seed, "zeros"))
    return draw(graph, trial.sizes, trial.seed, trial.kind, legal)


def _effort(
    module: torch.nn.Module, graph: Graph, inputs: Mapping[str, np.ndarray[Any, Any]]
) -> float:
    """Estimate the multiplications of one run, from the sizes of weights and of what they make."""
    import torch

    total = 0.0

    def add(part: torch.nn.Module, given: Any, made: Any) -> None:
        nonlocal total
        first = made if isinstance(made, torch.Tensor) else made[0] if made else None
        weights = sum(one.numel() for one in part._parameters.values() if one is not None)
        if (
            isinstance(first, torch.Tensor)
            and first.numel()
            and not isinstance(part, torch.nn.Embedding)
        ):
            features = first.shape[1 if first.ndim > 3 else -1] if first.ndim else 1
            total += first.numel() / features * max(features, weights)

    handles = [part.register_forward_hook(add) for part in module.modules()]
    try:
        run(module, graph, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return total
