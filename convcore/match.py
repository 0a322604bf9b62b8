"""Which layout explains a checkpoint, on what evidence, and what contradicts it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path

import attrs

from convcore.archive import as_mapping
from convcore.errors import ConvcoreError, LayoutError, warn
from convcore.host import Registry, conflict
from convcore.model import Checkpoint, Component, Layout, LayoutMatch
from convcore.names import assigner, nearest, shared_prefix
from convcore.schema import Solution, solve
from convcore.settings import Settler

REMAINDER = "remainder"
# Below this share of a schema's keys a layout is not even a near miss.
_NEAR = 0.5
_SHOWN = 12
# How many dotted parts of a foreign prefix are looked below.
_DEEPEST = 4


@attrs.frozen
class Candidate:
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


def match_layout(
    checkpoint: Checkpoint,
    registry: Registry,
    *,
    name: str | None = None,
    config: Mapping[str, str] | None = None,
) -> LayoutMatch:
    """Find the one layout that explains the checkpoint, and settle its configuration.

    Args:
        checkpoint: What a source read.
        registry: The layouts to choose from.
        name: ``--layout``: take this one, and no other.
        config: ``--config`` values by name.

    Raises:
        LayoutError: None explains it, several do equally well, keys are missing or misshapen, or
            the configuration contradicts itself.
        PluginError: Two plugins declare the layout, or its own code is at fault.
        UsageError: ``name`` is unknown, or a ``config`` name is not one of the layout's options.
    """
    config = config or {}
    if name is not None:
        candidate = consider(registry.find("layouts", name), checkpoint)
    else:
        candidate = _choose(checkpoint, registry)
    if not candidate.complete:
        raise incomplete(candidate, checkpoint)
    return configure(assemble(candidate, checkpoint), config)


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


def _choose(checkpoint: Checkpoint, registry: Registry) -> Candidate:
    held = candidates(checkpoint, registry)
    complete = [candidate for candidate in held if candidate.complete and candidate.near]
    if complete:
        # To take more of the same tensors is to explain more; of two models that lie side by side
        # in one file, neither explains the other.
        claims = [candidate.claimed for candidate in complete]
        best = [
            candidate
            for candidate, claim in zip(complete, claims, strict=True)
            if not any(claim < other for other in claims)
        ]
        # Every key and shape held against a schema is more than prefixes that happen to fit.
        best = [candidate for candidate in best if candidate.solution is not None] or best
        for candidate in best:
            _undisputed(candidate, registry)
        if len(best) == 1:
            return best[0]
        names = [candidate.layout.name for candidate in best]
        raise LayoutError(
            f"{len(best)} layouts explain {checkpoint.path.name}, none better than another: "
            f"{', '.join(names)}",
            seen=[
                f"{c.layout.name}: every required key is there, such as {min(c.claimed)}; "
                f"{c.unclaimed} tensors unclaimed"
                for c in best
            ],
            remedy=f"name one of them, for example --layout {names[0]}",
        )
    near = [candidate for candidate in held if candidate.near]
    if near:
        _undisputed(near[0], registry)
        return near[0]
    raise LayoutError(
        f"no known layout explains the {len(checkpoint.tensors)} tensors of {checkpoint.path.name}",
        seen=unexplained(checkpoint, held),
        remedy="take it whole with --layout plain, or split it with --component NAME=KEY_PREFIX",
    )


def _undisputed(candidate: Candidate, registry: Registry) -> None:
    """Refuse a layout whose name two plugins claim.

    Raises:
        PluginError: They do; both are named.
    """
    chosen = ("layouts", candidate.layout.name)
    if chosen in registry.conflicts:
        raise conflict(*chosen, registry.conflicts[chosen])


def unexplained(checkpoint: Checkpoint, held: Sequence[Candidate]) -> list[str]:
    """Say what the keys look like and which layouts come nearest."""
    seen = [f"top-level prefixes: {', '.join(sorted(prefixes(checkpoint.tensors))[:_SHOWN])}"]
    seen += _under_a_prefix(checkpoint, [candidate.layout for candidate in held])
    for candidate in sorted(held, key=lambda c: (-c.coverage, len(c.absent)))[:3]:
        lacks = f"no tensor of {', '.join(candidate.absent)}" if candidate.absent else ""
        share = f"{candidate.coverage:.0%} of its keys are there" if candidate.coverage else ""
        seen.append(
            f"nearest layout {candidate.layout.name}: {lacks or share or 'no key in common'}"
        )
    return seen


def _under_a_prefix(checkpoint: Checkpoint, layouts: Iterable[Layout]) -> Iterator[str]:
    """Say which layouts the keys would be those of, were it not for what all of them begin with."""
    parts = shared_prefix(checkpoint.tensors).split(".")[:-1][:_DEEPEST]
    cuts = [".".join(parts[: count + 1]) + "." for count in range(len(parts))]
    for layout, cut in product(layouts, cuts):
        bare = {key.removeprefix(cut): value for key, value in checkpoint.tensors.items()}
        with suppress(ConvcoreError):
            if consider(layout, attrs.evolve(checkpoint, tensors=bare)).near:
                yield f"below {cut!r} the keys are those of {layout.name}: save that part by itself"


def prefixes(keys: Iterable[str]) -> dict[str, list[str]]:
    """Group keys by their first dotted part."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key.partition(".")[0], []).append(key)
    return groups


def incomplete(candidate: Candidate, checkpoint: Checkpoint) -> LayoutError:
    """List everything that is missing or misshapen, with the nearest names there are."""
    layout, solution = candidate.layout, candidate.solution
    if candidate.absent:
        return LayoutError(
            f"{checkpoint.path.name} has no tensor of {', '.join(candidate.absent)}, "
            f"which the layout {layout.name} requires",
            seen=unexplained(checkpoint, [candidate]),
            remedy="choose another --layout, or take the file whole with --layout plain",
        )
    assert solution is not None  # only a schema can be incomplete once every component is there
    unknown = set(solution.extra)
    seen = []
    for key, shape in solution.missing.items():
        seen.append("; ".join((f"missing: {key} {_shape(shape)}", *nearest(key, unknown))))
    for key, (found, expected) in solution.misshapen.items():
        seen.append(f"wrong shape: {key} is {_shape(found)}, should be {_shape(expected)}")
    named = [*solution.missing, *solution.misshapen]
    what = " and ".join(
        f"{len(group)} tensor{'s' * (len(group) > 1)} {word}"
        for group, word in ((solution.missing, "missing"), (solution.misshapen, "of wrong shape"))
        if group
    )
    return LayoutError(
        f"{checkpoint.path.name} looks like {layout.name}, but has {what}: "
        f"{', '.join(named[:4])}{', …' if len(named) > 4 else ''}",
        seen=seen,
        remedy="check how the file was saved; --layout plain takes it as it is",
    )


def _shape(shape: Iterable[int | str]) -> str:
    return f"({', '.join(map(str, shape))})"


def settle_split(layout: Layout, checkpoint: Checkpoint) -> LayoutMatch:
    """Match a layout that the user spelled out on the command line.

    Tensors of an unsupported kind in what is left over do not keep the named parts from being
    written: the ledger drops them with their kind.
    """
    match = assemble(consider(layout, checkpoint), checkpoint)
    odd = {
        name: f"{tensor.unsupported}: a kind of tensor that is not supported"
        for name, tensor in match.states.get(REMAINDER, {}).items()
        if tensor.unsupported
    }
    return attrs.evolve(match, dropped={**match.dropped, **odd})


def assemble(candidate: Candidate, checkpoint: Checkpoint) -> LayoutMatch:
    """Turn a candidate into a match without settings: states, sizes, sidecars, evidence."""
    layout, tensors = candidate.layout, checkpoint.tensors
    components = layout.components
    evidence = list(checkpoint.evidence)
    if candidate.unclaimed:
        keys = candidate.states[REMAINDER]
        components = (*components, Component(REMAINDER, (), role="training", required=False))
        evidence.append(
            f"{len(keys)} tensors belong to no component of {layout.name} and form {REMAINDER!r}: "
            f"{', '.join(keys[:_SHOWN])}{', …' if len(keys) > _SHOWN else ''}"
        )
    layout = attrs.evolve(layout, components=components)
    dropped = {}
    for part in components:
        refuse = assigner([(pattern, reason) for pattern, reason in part.drop.items()])
        for key in candidate.states.get(part.name, ()):
            reason = refuse(key)
            if reason is not None:
                dropped[key] = reason
    solution = candidate.solution
    claimed = set(candidate.states.get(REMAINDER, ()))
    extra = tuple(k for k in solution.extra if k not in claimed) if solution else ()
    if solution is not None:
        known = len(tensors) - len(claimed) - len(extra)
        evidence.append(f"all {known} keys and shapes of {layout.name} are there")
    if extra:
        evidence.append(
            f"{len(extra)} more keys than {layout.name} has: {', '.join(extra[:_SHOWN])}"
        )
    return LayoutMatch(
        layout,
        checkpoint,
        {
            part.name: {key: tensors[key] for key in candidate.states[part.name]}
            for part in components
            if part.name in candidate.states
        },
        solution.sizes if solution else {},
        evidence=tuple(evidence),
        sidecars={**find_sidecars(layout, checkpoint.path), **checkpoint.sidecars},
        extra=extra,
        dropped=dropped,
    )


def configure(match: LayoutMatch, config: Mapping[str, str]) -> LayoutMatch:
    """Let the layout settle its settings from sizes, hyper-parameters, sidecars and options."""
    if match.layout.configure is None:
        return match
    settler = Settler(as_mapping(match.checkpoint.hyper_parameters) or {}, config)
    match.layout.configure(match, settler)
    evidence = (*match.evidence, *settler.evidence)
    return attrs.evolve(match, settings=settler.settings, evidence=evidence)


def find_sidecars(layout: Layout, path: Path) -> dict[str, Path]:
    """Find the layout's sidecars in the checkpoint's folder, or one folder up."""
    home = path if path.is_dir() else path.parent
    found = {}
    for name in layout.sidecars:
        for folder in (home, home.parent):
            if (folder / name).is_file():
                found[name] = folder / name
                break
    return found
