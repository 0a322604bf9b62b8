"""Layouts held against a checkpoint: what each takes of it, what it misses, how near it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from convcore.errors import ConvcoreError, warn
from convcore.layouts.layout import Layout
from convcore.layouts.schema import Solution, solve
from convcore.names import assigner
from convcore.noun import Noun
from convcore.sources.source import Checkpoint
from convcore.tensors import TensorSpec

if TYPE_CHECKING:
    from convcore.host.registry import Registry

REMAINDER = "remainder"
# Below this share of a schema's keys a layout is not even a near miss.
_NEAR = 0.5
# A schema that knows this key takes whatever is there, and says nothing of what it is.
DECOY = "convcore.decoy"
_DECOY = TensorSpec("float32", (1,))


@attrs.frozen(eq=False, repr=False)
class Candidate(Noun):
    """A layout held against a checkpoint.

    Attributes:
        layout: The layout.
        states: Component name to names of its tensors.
        solution: What its schema says; None without a schema.
        coverage: Share of the schema's keys that are there, 0 to 1.
        absent: Required components without any tensor.
    """

    layout: Layout
    states: Mapping[str, list[str]]
    solution: Solution | None
    coverage: float
    absent: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing required is missing or misshapen."""
        return not self.absent and (self.solution is None or self.solution.complete)

    @property
    def near(self) -> bool:
        """Whether enough is there to believe that this family was meant."""
        claims = any(name != REMAINDER for name in self.states)
        return claims and not self.absent and self.coverage >= _NEAR

    @property
    def unclaimed(self) -> int:
        """How many tensors no component of the layout takes."""
        return len(self.states.get(REMAINDER, ()))

    @property
    def claimed(self) -> frozenset[str]:
        """The tensors that a component of the layout takes."""
        return frozenset(
            key for name, keys in self.states.items() if name != REMAINDER for key in keys
        )

    def explained(self, checkpoint: Checkpoint) -> frozenset[str]:
        """The tensors whose keys and shapes the schema knows; none where it takes anything."""
        if self.layout.schema is None:
            return frozenset()
        specs = {key: tensor.spec for key, tensor in checkpoint.tensors.items()}
        found = covered(self.layout, {**specs, DECOY: _DECOY})
        return frozenset() if found is None or DECOY in found[0] else found[0]


def consider(layout: Layout, checkpoint: Checkpoint) -> Candidate:
    """Hold one layout against a checkpoint, without judging."""
    patterns = [(key, part.name) for part in layout.components for key in part.keys]
    assign = assigner(patterns)
    states: dict[str, list[str]] = {}
    for key in checkpoint.tensors:
        states.setdefault(assign(key) or REMAINDER, []).append(key)
    absent = tuple(p.name for p in layout.components if p.required and p.name not in states)
    solution = None
    coverage = 0.0 if absent else 1.0
    if layout.schema is not None and not absent:
        specs = {key: tensor.spec for key, tensor in checkpoint.tensors.items()}
        schema = layout.schema(specs)
        solution = solve(schema, specs)
        present = sum(key in specs for key in schema.shapes)
        coverage = present / max(1, len(schema.shapes))
    return Candidate(layout, states, solution, coverage, absent)


def covered(
    layout: Layout, specs: Mapping[str, TensorSpec]
) -> tuple[frozenset[str], Solution] | None:
    """Return a layout's keys that are there, and what its schema says, whatever is missing.

    Returns:
        None for a layout without a schema, and where the schema cannot do without some component.
    """
    if layout.schema is None:
        return None
    try:
        schema = layout.schema(specs)
    except ConvcoreError:
        return None
    return frozenset(specs.keys() & schema.shapes.keys()), solve(schema, specs)


def partly(checkpoint: Checkpoint) -> Callable[[Candidate], bool]:
    """Return whether most keys of a layout are there, and components that it requires are not."""
    specs = {key: tensor.spec for key, tensor in checkpoint.tensors.items()}

    def judge(candidate: Candidate) -> bool:
        found = covered(candidate.layout, specs) if candidate.absent else None
        if found is None:
            return False
        shared, solution = found
        known = len(shared) + len(solution.missing)
        return len(shared) >= _NEAR * known and len(shared) >= _NEAR * len(specs)

    return judge


def candidates(checkpoint: Checkpoint, registry: Registry) -> tuple[Candidate, ...]:
    """Hold every layout that may be chosen by itself against the checkpoint; best first."""
    held = []
    for layout in registry.claimed("layouts"):
        if not layout.automatic or not checkpoint.tensors:
            continue
        try:
            held.append(consider(layout, checkpoint))
        except ConvcoreError as error:
            # One layout that cannot judge a checkpoint must not keep the others from doing so.
            warn(f"the layout {layout.name} is left out: {error.what}")
    return tuple(sorted(held, key=lambda c: (not c.complete, -c.coverage, c.layout.name)))
