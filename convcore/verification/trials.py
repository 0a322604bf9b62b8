"""The trials of a comparison: with which sizes and kinds of inputs a graph is tried."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from convcore.layouts.example_inputs import draw, large_sizes, sizes_for
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
    """

    sizes: Mapping[str, int]
    kind: Kind = "normal"
    seed: int = 0

    def __str__(self) -> str:
        """Kind and sizes, in words."""
        return ", ".join([self.kind, *(f"{name} {size}" for name, size in self.sizes.items())])


class Effort:
    """Multiplications of the runs inside its ``watching``, estimated from weights and outputs."""

    def __init__(self) -> None:
        self.total = 0.0

    @contextlib.contextmanager
    def watching(self, module: torch.nn.Module) -> Iterator[None]:
        """Count what the network does meanwhile."""
        handles = [part.register_forward_hook(self._add) for part in module.modules()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def threads(self) -> Iterator[int]:
        """Let torch compute on one thread where the runs are small.

        More would wait for one another longer than they compute. The number is for onnxruntime, 0
        leaving it to that.
        """
        import torch

        before = torch.get_num_threads()
        alone = self.total <= _CHEAP
        try:
            if alone:
                torch.set_num_threads(1)
            yield 1 if alone else 0
        finally:
            torch.set_num_threads(before)

    def _add(self, part: torch.nn.Module, given: Any, made: Any) -> None:
        import torch

        first = made if isinstance(made, torch.Tensor) else made[0] if made else None
        weights = sum(one.numel() for one in part._parameters.values() if one is not None)
        if (
            isinstance(first, torch.Tensor)
            and first.numel()
            and not isinstance(part, torch.nn.Embedding)
        ):
            features = first.shape[1 if first.ndim > 3 else -1] if first.ndim else 1
            self.total += first.numel() / features * max(features, weights)


def first_trial(graph: Graph, seed: int = 0) -> Trial:
    """The trial that every comparison begins with: the sizes that were traced."""
    return Trial(sizes_for(graph).traced, seed=seed)


def further_trials(graph: Graph, effort: Effort, seed: int = 0) -> Iterator[Trial]:
    """Yield another seed, all other sizes, zeros, a constant, and large sizes where cheap.

    Args:
        graph: What is compared.
        effort: Of the first trial.
        seed: Of the first trial.
    """
    sizes = sizes_for(graph)
    yield Trial(sizes.traced, seed=seed + 1)
    for number, other in enumerate(sizes.others or ({}, {})):
        yield Trial(other, seed=seed + 2 + number)
    yield Trial(sizes.traced, "zeros", seed)
    yield Trial(sizes.traced, "constant", seed)
    for number, large in enumerate(large_sizes(graph, _CHEAP / max(1, effort.total))):
        yield Trial(large, seed=seed + 100 + number)


def inputs_of(
    trial: Trial, module: torch.nn.Module, graph: Graph
) -> dict[str, np.ndarray[Any, Any]]:
    """Draw the inputs of a trial; integers from all that the network's tables have rows for."""
    legal = None
    if needs_limits(graph):
        legal = limits(module, graph, draw(graph, trial.sizes, trial.seed, "zeros"))
    return draw(graph, trial.sizes, trial.seed, trial.kind, legal)
