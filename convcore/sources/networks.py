"""Groups become networks: layer by layer, as modules, or as whole state dicts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from convcore.sources.groups import Group, Placed, generator_states
from convcore.sources.names import unprefixed
from convcore.sources.vocabulary import (
    NO_TENSOR,
    WRAPPERS,
    averaging,
    is_buffer,
    is_metric,
    is_parameter,
)
from convcore.tensors import LazyTensor

# What layers are called in state dicts that nest one mapping per layer (compiled for these alone).
_LAYER = (
    r"([A-Za-z]*_)?(conv|fc|lin|linear|layers?|dense|bn|ln|norm|layernorm|batchnorm|embed|embedding|"
    r"attn|attention|proj|out|output|input|head|block|stage|stem|down|up|mid|l|h|w|i2h|h2h|\d+)"
    r"s?(\d*d)?_?\d*"
)

# No state dict nests mappings deeper below the top of its file.
_DEEPEST = 12


@attrs.frozen(eq=False, repr=False)
class Network(Placed):
    """One set of weights.

    Attributes:
        path: Where it lies in the file.
        tensors: Name without wrappers to tensor.
        keys: Name without wrappers to the key in its state dict.
        places: Name without wrappers to the dotted place in the file.
        averaged: Whether it is called an average of weights.
        said: What has to be told of it.
        plain: Places of entries beside its tensors that are none, with why.
        module: Class of a whole module; "" for a state dict.
        inside: Class of the object it is an attribute of; "" for none.
    """

    path: tuple[str, ...]
    tensors: Mapping[str, LazyTensor]
    keys: Mapping[str, str]
    places: Mapping[str, str]
    averaged: bool = False
    said: tuple[str, ...] = ()
    plain: Mapping[str, str] = attrs.field(factory=dict)
    module: str = ""
    inside: str = ""

    def without(self, names: Iterable[str]) -> Network:
        """Return the network less some of its tensors, named without what the others share."""
        gone = set(names)
        kept = [name for name in self.tensors if name not in gone]
        return self.renamed({name: name for name in kept})

    def renamed(self, names: Mapping[str, str]) -> Network:
        """Return the network with some of its tensors, old name to new."""
        return attrs.evolve(
            self,
            tensors={new: self.tensors[old] for old, new in names.items()},
            keys={new: self.keys[old] for old, new in names.items()},
            places={new: self.places[old] for old, new in names.items()},
        )


def bare(network: Network) -> Network:
    """Take wrappers' prefixes off the names of a network."""
    short, said = unprefixed(network.tensors)
    if not said:
        return network
    return attrs.evolve(network.renamed(short), said=(*network.said, *said))


def as_network(group: Group, tensors: Mapping[str, LazyTensor] | None = None) -> Network:
    """Make a network of a group: its tensors, or some of them."""
    tensors = group.tensors if tensors is None else tensors
    plain = {
        ".".join((*group.path, name)): f"{_article(kind)} {kind}{NO_TENSOR}"
        for name, kind in group.plain.items()
    }
    network = Network(
        group.path,
        tensors,
        {name: name for name in tensors},
        {name: group.places[name] for name in tensors},
        any(map(averaging, group.path)),
        group.said,
        plain,
        group.module,
        group.inside,
    )
    return bare(network)


def _article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"


def layered(groups: list[Group]) -> list[tuple[tuple[str, ...], list[Group]]]:
    """Sort groups into networks: nested mappings, layer by layer, are one.

    Returns:
        The place of each network, and the groups that it is made of.
    """
    children: dict[tuple[str, ...], Counter[str]] = {}
    for group in filter(_is_layer, groups):
        for length in range(min(len(group.path), _DEEPEST)):
            children.setdefault(group.path[:length], Counter())[group.path[length]] += 1
    homes = {home for home, names in children.items() if _is_one_network(home, names)}
    made: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        outer = (group.path[:length] for length in range(min(len(group.path), _DEEPEST)))
        home = next(filter(homes.__contains__, outer), group.path)
        made.setdefault(home if _is_layer(group) else group.path, []).append(group)
    return list(made.items())


def _is_layer(group: Group) -> bool:
    return group.kind == "mapping" and not any("." in name for name in group.tensors)


def _is_one_network(home: tuple[str, ...], names: Counter[str]) -> bool:
    """Whether the mappings inside one are layers: it wraps a network, or they are called so.

    Args:
        home: The way to the mapping.
        names: Of the entries in it, with how many layers lie below each.
    """
    wraps = bool(home) and home[-1].lower() in WRAPPERS
    alike = sum(bool(re.fullmatch(_LAYER, name, re.IGNORECASE)) for name in names)
    numbered = all(name.isdigit() for name in names)
    several = len(names) > 1 or (wraps and names.total() > 1)
    return several and not numbered and (wraps or 2 * alike > len(names))


def joined(home: tuple[str, ...], groups: list[Group]) -> Network:
    """Make one network of the layers below a mapping, with dotted names."""
    tensors: dict[str, LazyTensor] = {}
    places: dict[str, str] = {}
    for group in groups:
        below = group.path[len(home) :]
        for name, tensor in group.tensors.items():
            dotted = ".".join((*below, name))
            tensors[dotted], places[dotted] = tensor, group.places[name]
    averaged = any(map(averaging, home))
    said = tuple(sentence for group in groups for sentence in group.said)
    network = Network(home, tensors, {name: name for name in tensors}, places, averaged, said)
    return bare(network)


def is_network(group: Group) -> bool:
    """Whether a group beside others is a network: it has parameters, not only running figures."""
    if group.kind == "module":
        return bool(group.tensors)
    if not group.has_parameters and not _in_wrapper(group):
        return False
    named = [name for name in group.tensors if not is_buffer(name)]
    return bool(named) and not _weights_of_a_loss(group)


def _in_wrapper(group: Group) -> bool:
    """Whether a mapping is called a model: a state dict, whatever its names are."""
    last = group.path[-1].lower() if group.path else ""
    return group.kind == "mapping" and (last in WRAPPERS or last.endswith("state_dict"))


def _weights_of_a_loss(group: Group) -> bool:
    """Whether the one parameter beside a file's other entries is called ``weight`` by chance."""
    names = [name for name in group.tensors if is_parameter(name)]
    return not group.path and not any("." in name for name in names) and len(names) < 2


def figures(group: Group) -> list[str]:
    """Return the names of a group's tensors that training keeps for itself."""
    metrics = [name for name, tensor in group.tensors.items() if is_metric(name, tensor)]
    return [*metrics, *(name for name in generator_states(group) if name not in metrics)]
