"""The network in float64, computed only for the runs on which something depends.

It costs twice a run in float32. A file that is right is nearly always shown to be so by the first
run: from that the network's own error is known, and with float32 for the truth elsewhere a file
can only seem worse than it is. Where one does, further runs are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from convcore.targets.networks import run_exactly, widened
from convcore.verification import channels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy as np
    import torch

    from convcore.layouts.graph import Graph
    from convcore.verification.numerics import Arrays

    Array = np.ndarray[Any, Any]


class Float64:
    """What a network computes in float64, run by run, and whether it can.

    Args:
        module: The network.
        graph: What it computes.
        inputs: Of each run; called when they are needed.
    """

    def __init__(
        self, module: torch.nn.Module, graph: Graph, inputs: Sequence[Callable[[], Arrays]]
    ) -> None:
        self._module, self._graph, self._inputs = module, graph, inputs
        self._wide: Mapping[str, torch.Tensor] = widened(module)
        self._known: dict[int, Arrays] = {}
        self.possible = self._compute(0)

    def furthest(
        self, name: str, reference: Sequence[Array], found: Sequence[Array]
    ) -> channels.Channel | None:
        """Return the worst channel of an output, as ``channels.furthest`` does.

        One that does not fit was held against float64 in all runs. Where that cannot be done after
        all, ``possible`` is false afterwards and what is returned means nothing.
        """
        while True:
            exact = [
                self._known[place][name] if place in self._known else None
                for place in range(len(reference))
            ]
            worst = channels.furthest(reference, found, exact)
            left = [place for place, one in enumerate(exact) if one is None]
            if worst is None or worst.fits or not left:
                return worst
            if not self._compute(worst.run if worst.run in left else left[0]):
                self.possible = False
                return worst

    def _compute(self, place: int) -> bool:
        made = run_exactly(self._module, self._wide, self._graph, self._inputs[place]())
        if made is not None:
            self._known[place] = made
        return made is not None
