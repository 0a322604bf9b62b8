"""The ledger of the ONNX files: where each tensor of the checkpoint went in each graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from convcore import Choice, LayoutMatch, LedgerEntry, Place
from convcore.targets.target import State
from convcore_onnx.exporting import holds

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

_REASONS: dict[State, str | None] = {
    "written": None,
    "cast": "widened or narrowed to float32",
    "folded": "merged with others by the graph optimiser",
    "dropped": "no graph computes with it",
}


class Ledger:
    """Gathers one entry per tensor over all graphs; the first that uses it leads."""

    def __init__(self) -> None:
        self._places: dict[str, list[tuple[State, str, str | None]]] = {}
        self._constants: list[LedgerEntry] = []

    def add(
        self,
        path: str,
        traced: ir.Model,
        model: ir.Model,
        state: Mapping[str, torch.Tensor],
        names: Mapping[str, str],
        cast: frozenset[str],
    ) -> None:
        """Account for one file.

        Args:
            path: Its name.
            traced: The graph before optimisation.
            model: The graph as written.
            state: The network's state dict.
            names: Key of the state dict to name in the checkpoint.
            cast: Names in the checkpoint whose dtype is not that of the network.
        """
        before, after = traced.graph.initializers, model.graph.initializers
        for key, name in names.items():
            here = after.get(key)
            if here is not None and holds(here, state[key]):
                place: tuple[State, str, str | None] = ("written", path, key)
                if name in cast:
                    place = ("cast", path, key)
            elif key in before:
                place = ("folded", path, key if here is not None else None)
            else:
                place = ("dropped", path, None)
            self._places.setdefault(name, []).append(place)
        for key in after:
            if key not in names:
                self._constants.append(
                    LedgerEntry(None, "onnx", "constant", path, key, "part of the graph")
                )

    def entries(self, match: LayoutMatch, choice: Choice) -> Iterator[LedgerEntry]:
        """Yield an entry for every tensor of the chosen components and for every constant."""
        for name, places in self._places.items():
            used = [place for place in places if place[0] != "dropped"] or places[:1]
            (state, path, key), *others = used
            also = tuple(Place(file, inner, what) for what, file, inner in others)
            file = None if state == "dropped" else path
            yield LedgerEntry(name, "onnx", state, file, key, _REASONS[state], also)
        yield from self._constants
        training = {part.name for part in match.layout.components if part.role == "training"}
        for component in choice.components:
            reason = "role: training" if component in training else "part of no exported graph"
            for name in match.states[component]:
                if name not in self._places and name not in match.dropped:
                    yield LedgerEntry(name, "onnx", "dropped", reason=reason)
