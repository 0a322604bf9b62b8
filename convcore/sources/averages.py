"""Averaged weights: a second set of weights of the same network, found by content and by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from convcore.noun import Noun
from convcore.sources.groups import Group
from convcore.sources.names import unprefixed, without_wrappers
from convcore.sources.networks import Network, bare
from convcore.sources.vocabulary import (
    COUNTER,
    averaging,
    is_buffer,
    without_average,
)
from convcore.tensors import LazyTensor

# Counters that averaging classes keep beside their weights.
_COUNTERS = frozenset(("n_averaged", "initted", "step", "decay", "num_updates"))
_LISTED = "shadow_params"
# What the trained weights are called beside an entry that is called ``ema`` and no more.
_MODEL = ("model", "module", "net", "network")
# Longer lists of parameters are not tried against longer networks in all ways.
_MOST = 20_000_000


@attrs.frozen(eq=False, repr=False)
class Pair(Noun):
    """The trained weights of a network, and an average of them under the same names.

    Attributes:
        raw: As trained.
        averaged: The average; of buffers it may have none.
    """

    raw: Network
    averaged: Network

    def mixed(self) -> Network:
        """The average, with the buffers that it has none of taken from the trained weights."""
        lacking = {name: name for name in self.raw.tensors if name not in self.averaged.tensors}
        rest = self.raw.renamed(lacking)
        order = self.raw.tensors
        joined = {**self.averaged.tensors, **rest.tensors}
        keys = {**self.averaged.keys, **rest.keys}
        places = {**self.averaged.places, **rest.places}
        said = self.averaged.said
        if lacking:
            said = (*said, f"{len(lacking)} buffers of {self.raw.place or 'the raw weights'}")
        return attrs.evolve(
            self.averaged,
            tensors={name: joined[name] for name in order},
            keys={name: keys[name] for name in order},
            places={name: places[name] for name in order},
            said=said,
        )


@attrs.frozen(eq=False, repr=False)
class Undecided(Noun):
    """An average that fits in several ways, or in none that could be told."""

    place: str
    fits: tuple[str, ...]


def is_counter(name: str, tensor: LazyTensor) -> bool:
    """Whether a loose tensor counts the updates of an average."""
    return name in _COUNTERS and name != "step" and not tensor.shape


def divided(network: Network) -> tuple[list[Network], list[Pair], dict[str, str]]:
    """Take the averages out of one flat state dict.

    Returns:
        The networks that are left, the pairs found inside, and the places of counters, with why
        they are no weights.
    """
    counters = {
        name for name in network.tensors if name in _COUNTERS and not network.tensors[name].shape
    }
    for found in (_of_ema_pytorch, _of_averaged_model):
        parts = found(network, counters)
        if parts is not None:
            why = {network.places[name]: COUNTER for name in counters}
            networks, pairs = parts
            return networks, pairs, why
    return _inside(network)


Parts = tuple[list[Network], list[Pair]]


def _of_ema_pytorch(network: Network, counters: set[str]) -> Parts | None:
    """``online_model.`` and ``ema_model.`` side by side, as the package ema-pytorch saves."""
    names = [name for name in network.tensors if name not in counters]
    if not counters or not names:
        return None
    sides = {
        side: {name: name[len(side) + 1 :] for name in names if name.startswith(f"{side}.")}
        for side in ("online_model", "ema_model")
    }
    if sum(map(len, sides.values())) < len(names) or not sides["ema_model"]:
        return None
    online, ema = (
        _part(network, sides[side], side, averaged=side == "ema_model") for side in sides
    )
    if not online.tensors:
        return [ema], []
    if same_shapes(online, ema):
        return [], [Pair(online, _named_alike(online, ema))]
    return None


def _part(network: Network, names: Mapping[str, str], side: str, *, averaged: bool) -> Network:
    """Cut a part out of a network: old name to new."""
    cut = network.renamed(names)
    return bare(attrs.evolve(cut, path=(*network.path, side), averaged=averaged, plain={}))


def _of_averaged_model(network: Network, counters: set[str]) -> Parts | None:
    """``n_averaged`` beside ``module.``, as torch's ``AveragedModel`` saves."""
    if "n_averaged" not in counters:
        return None
    names = {name: name for name in network.tensors if name not in counters}
    if not names or not all(name.startswith("module.") for name in names):
        return None
    return [bare(attrs.evolve(network.renamed(names), averaged=True))], []


def _inside(network: Network) -> tuple[list[Network], list[Pair], dict[str, str]]:
    """Find averages among the names of one state dict: ``net_ema.``, ``model_ema.``, ``ema_``."""
    for find in (_dotless, _siblings, _flat_keys):
        for prefix, names in find(network.tensors):
            # The average's names to those of the trained weights, which is all that is left.
            counters = [
                name for name in network.tensors if name.startswith(prefix) and name not in names
            ]
            if any(name.rpartition(".")[2] not in _COUNTERS for name in counters):
                continue
            raw = network.without([*names, *counters])
            if not _covers(names.values(), raw, network.tensors, names):
                continue
            average = network.renamed(names)
            shared = _shared(names).rstrip("._") if prefix.endswith("_") else prefix[:-1]
            path = (*network.path, shared)
            average = attrs.evolve(average, path=path, averaged=True, plain={})
            why = {network.places[name]: COUNTER for name in counters}
            more, pairs, also = _inside(raw)
            if pairs:  # several parts of one network have averages of their own
                short = dict(zip(unprefixed(raw.tensors)[0], pairs[0].raw.tensors, strict=False))
                if len(pairs[0].raw.tensors) != len(raw.tensors):
                    continue
                average = average.renamed({name: short[name] for name in average.tensors})
                return more, [Pair(pairs[0].raw, _merged(average, pairs[0].averaged))], why | also
            short, _ = unprefixed(raw.tensors)
            average = average.renamed({name: short[name] for name in average.tensors})
            return [], [Pair(bare(raw), average)], why
    return [network], [], {}


def _shared(names: Iterable[str]) -> str:
    """What all names begin with, letter by letter."""
    first, last = min(names), max(names)
    count = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]),
                 min(len(first), len(last)))  # fmt: skip
    return first[:count]


def _merged(one: Network, two: Network) -> Network:
    return attrs.evolve(
        one,
        tensors={**one.tensors, **two.tensors},
        keys={**one.keys, **two.keys},
        places={**one.places, **two.places},
    )


def _dotless(tensors: Mapping[str, LazyTensor]) -> Iterator[tuple[str, dict[str, str]]]:
    """``model_ema.`` with names without dots, ``decay`` and ``num_updates``: Stable Diffusion."""
    for name in tensors:
        prefix = name.removesuffix("num_updates")
        if prefix == name or not prefix.endswith(".") or f"{prefix}decay" not in tensors:
            continue
        inside = {n: n[len(prefix) :] for n in tensors if n.startswith(prefix)}
        outside = {n: n for n in tensors if not n.startswith(prefix)}
        found: dict[str, str] = {}
        for start in _starts(outside):
            flat = {n[len(start) :].replace(".", ""): n for n in outside if n.startswith(start)}
            found = {old: flat[short] for old, short in inside.items() if short in flat}
            if len(found) + 2 >= len(inside) and found:
                break
        if found:
            yield prefix, found


def _starts(names: Mapping[str, str]) -> list[str]:
    """The prefixes below which an average's names may be counted: none, or one part."""
    return ["", *dict.fromkeys(f"{name.partition('.')[0]}." for name in names if "." in name)]


def _siblings(tensors: Mapping[str, LazyTensor]) -> Iterator[tuple[str, dict[str, str]]]:
    """``denoiser.`` beside ``denoiser_ema.``, at any depth."""
    found: dict[str, dict[str, str]] = {}
    for name in tensors:
        parts = name.split(".")
        for index, part in enumerate(parts[:-1]):
            if not averaging(part):
                continue
            others = [without_average(part)] if without_average(part) else ["", *_MODEL]
            raws = (
                ".".join([*parts[:index], *filter(None, [other]), *rest])
                for other in others
                for rest in (parts[index + 1 :], parts[index + 2 :])
                if rest == parts[index + 1 :] or parts[index + 1] == "module"
            )
            raw = next((raw for raw in raws if raw in tensors and raw != name), None)
            if raw is not None:
                found.setdefault(".".join(parts[: index + 1]) + ".", {})[name] = raw
            break
    yield from found.items()


def _flat_keys(tensors: Mapping[str, LazyTensor]) -> Iterator[tuple[str, dict[str, str]]]:
    """``ema_backbone_0_weight`` beside ``backbone.0.weight``: mmengine's hooks."""
    for prefix in ("ema_", "swa_"):
        if not any(name.startswith(prefix) for name in tensors):
            continue
        flat = {f"{prefix}{name.replace('.', '_')}": name for name in tensors}
        found = {name: flat[name] for name in tensors if name in flat}
        if found:
            yield prefix, found


def _covers(
    taken: object, raw: Network, tensors: Mapping[str, LazyTensor], names: Mapping[str, str]
) -> bool:
    """Whether an average has every parameter of what it is an average of, of the same shape."""
    theirs = set(names.values())
    if len(theirs) < len(names):
        return False
    if any(tensors[old].spec.shape != tensors[new].spec.shape for old, new in names.items()):
        return False
    homes = {new.partition(".")[0] for new in theirs}
    whole = [name for name in raw.tensors if name.partition(".")[0] in homes]
    return all(name in theirs or is_buffer(name) for name in whole)


def same_shapes(raw: Network, other: Network) -> bool:
    """Whether one network's tensors are those of another: all its parameters, no others."""
    return _fit(raw, other) is not None


def _fit(raw: Network, other: Network) -> dict[str, str] | None:
    """Pair the names of an average with those of a network: by name, less a common beginning."""
    for mine, theirs in _alignments(raw, other):
        names = dict(zip(theirs, mine, strict=True))
        shapes = all(
            other.tensors[old].shape == raw.tensors[new].shape for old, new in names.items()
        )
        missing = [name for name in raw.tensors if name not in set(mine)]
        if shapes and all(map(is_buffer, missing)) and names:
            return names
    return None


def _alignments(raw: Network, other: Network) -> Iterator[tuple[list[str], list[str]]]:
    """Yield ways to spell the names of both alike."""
    counters = {name for name in other.tensors if name in _COUNTERS and name not in raw.tensors}
    theirs = [name for name in other.tensors if name not in counters]
    if all(name in raw.tensors for name in theirs):
        yield theirs, theirs
        return
    # One of them lies below a module that the other does not name.
    for start in dict.fromkeys(f"{name.partition('.')[0]}." for name in raw.tensors):
        if all(f"{start}{name}" in raw.tensors for name in theirs):
            yield [f"{start}{name}" for name in theirs], theirs
    for start in dict.fromkeys(f"{name.partition('.')[0]}." for name in theirs):
        short = [name.removeprefix(start) for name in theirs]
        if all(name.startswith(start) for name in theirs) and all(n in raw.tensors for n in short):
            yield short, theirs


def _named_alike(raw: Network, other: Network) -> Network:
    """Return an average under the names of what it is an average of."""
    names = _fit(raw, other) or {}
    return other.renamed(names)


def paired(networks: Sequence[Network]) -> tuple[list[Network], list[Pair], list[Undecided]]:
    """Find which of several networks are averages of which others.

    Returns:
        The networks that are neither, the pairs, and what could not be decided.
    """
    raws = [network for network in networks if not network.averaged]
    left: list[Network] = list(networks)
    pairs: list[Pair] = []
    open_: list[Undecided] = []
    for average in networks:
        if not average.averaged:
            continue
        fits = [raw for raw in raws if same_shapes(raw, average)]
        named = [raw for raw in fits if _root(raw) == _root(average)]
        fits = named if len(named) == 1 else fits
        fits = [raw for raw in fits if not any(pair.raw is raw for pair in pairs)] or fits
        if len(fits) == 1 and not any(pair.raw is fits[0] for pair in pairs):
            pairs.append(Pair(fits[0], _named_alike(fits[0], average)))
            left = [each for each in left if each is not fits[0] and each is not average]
        elif len(fits) > 1:
            open_.append(Undecided(average.place, tuple(raw.place for raw in fits)))
    return left, pairs, open_


def _root(network: Network) -> tuple[str, ...]:
    """A network's path less wrappers and less the words for an average."""
    plain = tuple(filter(None, map(without_average, network.path)))
    return tuple(part for part in without_wrappers(plain) if part not in ("current_model_state",))


def from_list(group: Group, networks: Sequence[Network]) -> Pair | Undecided | None:
    """Find the network whose parameters, in their order, a list of tensors is an average of."""
    shapes = [tensor.shape for tensor in group.tensors.values()]
    fits = []
    for network in networks:
        if network.averaged:
            continue
        ways = _ways(shapes, network)
        if len(ways) > 1:
            return Undecided(group.place, (f"{network.place or 'the weights'} in several ways",))
        fits += [(network, way) for way in ways]
    if len(fits) > 1:
        return Undecided(group.place, tuple(network.place for network, _ in fits))
    if not fits:
        return None
    (network, names), keys = fits[0], list(group.tensors)
    names_of = dict(zip(names, keys, strict=True))
    of_identity = {network.tensors[name].identity: key for name, key in names_of.items()}
    for name, tensor in network.tensors.items():  # tied weights stand in a list once
        if tensor.identity in of_identity:
            names_of.setdefault(name, of_identity[tensor.identity])
    averaged = Network(
        group.path,
        {name: group.tensors[key] for name, key in names_of.items()},
        dict(names_of),
        {name: group.places[key] for name, key in names_of.items()},
        averaged=True,
    )
    return Pair(network, averaged)


def _ways(shapes: list[tuple[int, ...]], network: Network) -> list[list[str]]:
    """Return the ways a list of shapes fits a network's parameters in order; two at most."""
    seen: set[object] = set()
    names = []
    for name, tensor in network.tensors.items():
        if not is_buffer(name) and tensor.identity not in seen:
            seen.add(tensor.identity)
            names.append(name)
    if [network.tensors[name].shape for name in names] == shapes:
        return [names]
    if len(shapes) > len(names) or not shapes or len(shapes) * len(names) > _MOST:
        return []
    # counts[j]: ways in which the shapes read so far are a subsequence; capped, all that matters
    # is none, one or more.
    counts = [1] + [0] * len(shapes)
    for name in names:
        shape = network.tensors[name].shape
        for index in range(len(shapes), 0, -1):
            if shapes[index - 1] == shape:
                counts[index] = min(2, counts[index] + counts[index - 1])
    if counts[-1] != 1:
        return [names] * counts[-1]
    way, rest = [], iter(shapes)
    wanted = next(rest, None)
    for name in names:
        if network.tensors[name].shape == wanted:
            way.append(name)
            wanted = next(rest, None)
    return [way]


def is_list(group: Group) -> bool:
    """Whether a group is a list of averaged parameters, as diffusers and torch_ema save."""
    return (
        group.kind == "list"
        and bool(group.path)
        and (group.path[-1] == _LISTED or averaging(group.path[-1]))
    )
