"""A model that no layout knows, taken apart as its file, or the user, names its networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from convcore.errors import UsageError
from convcore.layouts.layout import Component, Layout, LayoutMatch
from convcore.layouts.mismatch import prefixes
from convcore.names import counted, few
from convcore.sources.source import Checkpoint

# The name of the layout in such a match; the manifest says null.
UNKNOWN = "networks"
_LOOSE = "loose"


def by_networks(checkpoint: Checkpoint, *, split: bool = False) -> LayoutMatch:
    """Make each network of a checkpoint a component.

    Args:
        checkpoint: What was read.
        split: ``--split``: of one network, make each first-level prefix a component.

    Raises:
        UsageError: ``split`` is asked for where there is nothing to split.
    """
    networks = checkpoint.networks or {"model": tuple(checkpoint.tensors)}
    told = "no layout known; "
    parts = [_component(name, networks) for name in networks]
    if split:
        networks, parts = _split(checkpoint, networks)
        told += "split by first-level prefixes"
    else:
        told += "split as the file names its networks" if len(parts) > 1 else "taken whole"
    layout = Layout(UNKNOWN, "as the file names its networks", parts, automatic=False)
    states = {
        name: {key: checkpoint.tensors[key] for key in keys} for name, keys in networks.items()
    }
    return LayoutMatch(
        layout,
        checkpoint,
        states,
        evidence=(*checkpoint.evidence, told),
        sidecars=checkpoint.sidecars,
    )


def _component(name: str, networks: Mapping[str, Sequence[str]]) -> Component:
    keys = tuple(networks[name])
    below = all(key.startswith(f"{name}.") for key in keys) and len(networks) > 1
    # What the author put below its own first module stays in its file's names.
    return Component(name, keys, whole_names=not below, prefix=f"{name}." if below else None)


def _split(
    checkpoint: Checkpoint, networks: Mapping[str, Sequence[str]]
) -> tuple[dict[str, tuple[str, ...]], list[Component]]:
    from convcore.sources.names import network_names

    whole = [name for name in networks if name != "statistics"]
    if len(whole) > 1:
        raise UsageError(
            f"{checkpoint.path.name} holds {counted(len(whole), 'network')} already: {few(whole)}",
            remedy="leave out --split; each is written by itself",
        )
    groups = prefixes(networks[whole[0]])
    loose = [key for key in networks[whole[0]] if "." not in key]
    groups = {name: keys for name, keys in groups.items() if keys != [name]}
    if len(groups) + bool(loose) < 2:
        raise UsageError(
            f"all tensors of {checkpoint.path.name} lie below {few(list(groups)) or 'no prefix'}",
            remedy="leave out --split, or split by --component NAME=KEY_PREFIX",
        )
    names = network_names([(name,) for name in groups])
    made = {name: tuple(keys) for name, keys in zip(names, groups.values(), strict=True)}
    parts = [
        Component(name, keys, prefix=f"{prefix}.")
        for (name, keys), prefix in zip(made.items(), groups, strict=True)
    ]
    rest = {_LOOSE: tuple(loose)} if loose else {}
    rest |= {name: tuple(keys) for name, keys in networks.items() if name not in whole}
    parts += [Component(name, keys, whole_names=True) for name, keys in rest.items()]
    return made | rest, parts


def with_statistics(match: LayoutMatch, leftover: str) -> LayoutMatch:
    """Make statistics beside networks a component of their own, out of what a layout leaves."""
    names = set(match.checkpoint.networks.get("statistics", ()))
    rest = match.states.get(leftover, {})
    taken = {name: tensor for name, tensor in rest.items() if name in names}
    if not taken or "statistics" in match.states:
        return match
    states = {**match.states, "statistics": taken}
    states[leftover] = {name: tensor for name, tensor in rest.items() if name not in taken}
    parts = [part for part in match.layout.components if part.name != leftover or states[leftover]]
    if not states[leftover]:
        del states[leftover]
    part = Component("statistics", tuple(taken), required=False, whole_names=True)
    layout = attrs.evolve(match.layout, components=(*parts, part))
    return attrs.evolve(match, layout=layout, states=states)
