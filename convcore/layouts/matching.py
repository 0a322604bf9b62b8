"""Which layout explains a checkpoint, on what evidence, and what contradicts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from convcore.errors import LayoutError, UsageError
from convcore.formats import as_mapping
from convcore.layouts.assumption import Assumption
from convcore.layouts.candidates import REMAINDER, Candidate, candidates, consider, partly
from convcore.layouts.layout import LAYOUT_FILE, Component, Layout, LayoutMatch
from convcore.layouts.mismatch import SHOWN, incomplete, unexplained
from convcore.layouts.settings import Settler
from convcore.layouts.sidecars import find_sidecars, told_from_above
from convcore.names import assigner, counted, few
from convcore.sources.source import Checkpoint

if TYPE_CHECKING:
    from convcore.host.registry import Registry
from convcore.layouts.unknown import by_networks, with_statistics
from convcore.sources import with_attributes
from convcore.sources.selection import STATISTICS


def match_layout(
    checkpoint: Checkpoint,
    registry: Registry,
    *,
    name: str | None = None,
    config: Mapping[str, str] | None = None,
    networks: bool = False,
) -> LayoutMatch:
    """Find the one layout that explains the checkpoint, and settle its configuration.

    Args:
        checkpoint: What a source read.
        registry: The layouts to choose from.
        name: ``--layout``: take this one, and no other.
        config: ``--config`` values by name.
        networks: Where no layout comes near, take the checkpoint's networks as they are.

    Raises:
        LayoutError: None explains it, several do equally well, keys are missing or misshapen, or
            the configuration contradicts itself.
        PluginError: Two plugins declare the layout, or its own code is at fault.
        UsageError: ``name`` is unknown, or a ``config`` name is not one of the layout's options.
    """
    found = find_layout(checkpoint, registry, name=name, networks=networks)
    return configure(found, config or {})


def find_layout(
    checkpoint: Checkpoint,
    registry: Registry,
    *,
    name: str | None = None,
    networks: bool = False,
) -> LayoutMatch:
    """Find the layout as ``match_layout`` does, and leave its configuration open."""
    if name is not None:
        candidate = consider(registry.find("layouts", name), checkpoint)
    else:
        with_attribute = with_attributes(checkpoint)
        if with_attribute is not None:
            known = _choose(candidates(with_attribute, registry), with_attribute, registry)
            if known is not None and known.complete:
                return assemble(known, with_attribute)
        held = candidates(checkpoint, registry)
        known = _choose(held, checkpoint, registry)
        if known is None:
            if networks and not _meant(held, checkpoint, registry):
                return by_networks(checkpoint)
            raise _unknown(held, checkpoint, registry)
        candidate = known
    if not candidate.complete:
        raise incomplete(candidate, checkpoint)
    return assemble(candidate, checkpoint)


def _meant(held: Sequence[Candidate], checkpoint: Checkpoint, registry: Registry) -> bool:
    """Whether a layout has to fit: the user described it, or only a part of it is missing."""
    return bool(registry.declared_by(LAYOUT_FILE)) or any(map(partly(checkpoint), held))


def _choose(
    held: Sequence[Candidate], checkpoint: Checkpoint, registry: Registry
) -> Candidate | None:
    """Return the layout that explains a checkpoint best, or nearly; None where none comes near.

    Raises:
        LayoutError: Several explain it, none better than another.
    """
    complete = [candidate for candidate in held if candidate.complete and candidate.near]
    if complete:
        best = complete if len(complete) == 1 else _best(complete, checkpoint)
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
                f"{counted(c.unclaimed, 'tensor')} unclaimed"
                for c in best
            ],
            remedy=f"name one of them, for example --layout {names[0]}",
        )
    near = [candidate for candidate in held if candidate.near]
    if near:
        _undisputed(near[0], registry)
        return near[0]
    return None


def _unknown(held: Sequence[Candidate], checkpoint: Checkpoint, registry: Registry) -> LayoutError:
    return LayoutError(
        f"no known layout explains the keys of {checkpoint.path.name}, "
        f"{counted(len(checkpoint.tensors), 'tensor')}",
        seen=unexplained(checkpoint, held, registry.declared_by(LAYOUT_FILE)),
        remedy="write its weights with --to pth or --to safetensors, which need no layout, or "
        "describe it with --layout-file",
    )


def _best(complete: Sequence[Candidate], checkpoint: Checkpoint) -> list[Candidate]:
    """Return the candidates that explain most; several where none explains all of another."""
    # Every key and shape held against a schema is more than prefixes that happen to fit, whatever
    # either leaves over.
    held = [(candidate, candidate.explained(checkpoint)) for candidate in complete]
    ranked = [(candidate, keys) for candidate, keys in held if keys]
    ranked = ranked or [(candidate, candidate.claimed) for candidate in complete]
    # To take more of the same tensors is to explain more; of two models that lie side by side
    # in one file, neither explains the other.
    return [candidate for candidate, keys in ranked if not any(keys < other for _, other in ranked)]


def _undisputed(candidate: Candidate, registry: Registry) -> None:
    """Refuse a layout whose name two plugins claim.

    Raises:
        PluginError: They do; both are named.
    """
    chosen = ("layouts", candidate.layout.name)
    if registry.disputed(*chosen):
        raise registry.dispute(*chosen)


def settle_split(layout: Layout, checkpoint: Checkpoint, *, remainder: bool) -> LayoutMatch:
    """Match a layout that the user spelled out on the command line.

    Args:
        layout: Of ``--component NAME=KEY_PREFIX``.
        checkpoint: What was read.
        remainder: Whether what no part takes is a component of its own. Tensors of an unsupported
            kind in it do not keep the named parts from being written: the ledger drops them with
            their kind.
    """
    match = assemble(consider(layout, checkpoint), checkpoint)
    left = {
        name: tensor
        for part, state in match.states.items()
        if part in (REMAINDER, STATISTICS) and part not in {each.name for each in layout.components}
        for name, tensor in state.items()
    }
    odd = {
        name: f"{tensor.unsupported}: a kind of tensor that is not supported"
        for name, tensor in left.items()
        if tensor.unsupported
    }
    if remainder or not left:
        return attrs.evolve(match, dropped={**match.dropped, **odd})
    told = f"not named, and not written: {counted(len(left), 'tensor')} (--remainder writes them)"
    why = dict.fromkeys(left, "--component: --remainder writes it") | odd
    evidence = tuple(line for line in match.evidence if not line.startswith(f"{REMAINDER} holds"))
    return attrs.evolve(match, dropped={**match.dropped, **why}, evidence=(*evidence, told))


def assemble(candidate: Candidate, checkpoint: Checkpoint) -> LayoutMatch:
    """Turn a candidate into a match without settings: states, sizes, sidecars, evidence."""
    layout, tensors = candidate.layout, checkpoint.tensors
    components = layout.components
    evidence = list(checkpoint.evidence)
    if candidate.unclaimed:
        keys = candidate.states[REMAINDER]
        components = (*components, Component(REMAINDER, (), role="training", required=False))
        evidence.append(
            f"{REMAINDER} holds {counted(len(keys), 'tensor')} that no component of {layout.name} "
            f"takes: {few(keys, SHOWN)}"
        )
    layout = attrs.evolve(layout, components=components)
    dropped = {}
    for part in components:
        refuse = assigner([(pattern, reason) for pattern, reason in part.drop.items()])
        for key in candidate.states.get(part.name, ()):
            reason = refuse(key)
            if reason is not None:
                dropped[key] = reason
    sidecars = find_sidecars(layout, checkpoint)
    evidence += told_from_above(sidecars, checkpoint)
    solution = candidate.solution
    claimed = set(candidate.states.get(REMAINDER, ()))
    extra = tuple(k for k in solution.extra if k not in claimed) if solution else ()
    if solution is not None:
        known = len(tensors) - len(claimed) - len(extra)
        evidence.append(f"all {known} keys and shapes of {layout.name} are there")
    if extra:
        evidence.append(
            f"{counted(len(extra), 'key')} more than {layout.name} has: {few(extra, SHOWN)}"
        )
    match = LayoutMatch(
        layout,
        checkpoint,
        {
            part.name: {key: tensors[key] for key in candidate.states[part.name]}
            for part in components
            if part.name in candidate.states
        },
        solution.sizes if solution else {},
        evidence=tuple(evidence),
        sidecars=sidecars,
        extra=extra,
        dropped=dropped,
    )
    return with_statistics(match, REMAINDER)


def configure(match: LayoutMatch, config: Mapping[str, str]) -> LayoutMatch:
    """Let the layout settle its settings from sizes, hyper-parameters, sidecars and options."""
    layout = match.layout
    if layout.configure is None and not layout.assumes:
        return match
    stored = as_mapping(match.checkpoint.hyper_parameters) or {}
    settler = Settler(stored, config, layout.assumes)
    if layout.configure is not None:
        layout.configure(match, settler)
    for each in layout.assumes:
        if each.components and not set(each.components) & set(match.states):
            _refuse_idle(each, config, match)
        elif each.name not in settler.settings:
            settler.assume(each.name)
    settler.conclude(layout.known)
    evidence = (*match.evidence, *settler.evidence)
    return attrs.evolve(match, settings=settler.settings, evidence=evidence)


def _refuse_idle(assumption: Assumption, config: Mapping[str, str], match: LayoutMatch) -> None:
    """Refuse an option that would change nothing, because nothing here computes with it."""
    if assumption.name in config:
        raise UsageError(
            f"--config {assumption.name} changes nothing in {match.checkpoint.path.name}",
            seen=[
                f"it is for {', '.join(assumption.components)}",
                f"there: {', '.join(match.states)}",
            ],
            remedy="leave it out",
        )
