"""The rule of selection: all networks, each under its path; statistics along; training never."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs

from convcore.errors import LayoutError
from convcore.names import counted, few
from convcore.noun import Noun
from convcore.sources import averages
from convcore.sources.averages import Pair, Undecided
from convcore.sources.groups import Group, generator_states, scan
from convcore.sources.names import network_names, unlike, without_wrappers
from convcore.sources.networks import Network, as_network, figures, is_network, joined, layered
from convcore.sources.vocabulary import (
    ALONE,
    CHOSEN,
    COUNTER,
    FIGURE,
    OBJECT,
    UNFIT,
    averaging,
)
from convcore.tensors import LazyTensor

STATISTICS = "statistics"


@attrs.frozen(eq=False, repr=False)
class WeightSet(Noun):
    """One set of tensors that a file holds, taken or not.

    Attributes:
        path: Where it lies in the file.
        kind: ``raw``, ``averaged``, ``statistics``, ``training`` or ``other``.
        tensors: Name to tensor.
        of: Path of the set that it is an average of.
        like: The tensors of that set.
    """

    path: str
    kind: Literal["raw", "averaged", "statistics", "training", "other"]
    tensors: Mapping[str, LazyTensor]
    of: str | None = None
    like: Mapping[str, LazyTensor] = attrs.field(factory=dict)


@attrs.frozen(eq=False, repr=False)
class Selection(Noun):
    """What of a file is the model.

    Attributes:
        networks: Those that are taken.
        statistics: Name to place and tensor: what lies beside networks and inference needs.
        left: Dotted place of every tensor that is not taken, and of entries without bytes, to why.
        rest: The tensors among them.
        evidence: Sentences saying what was taken, and what was not.
        sets: Every set of tensors, taken or not.
        undecided: The places of trained weights and their averages, where nobody chose.
        candidates: Networks inside objects, of which ``--key`` may name one.
    """

    networks: tuple[Network, ...]
    statistics: Mapping[str, tuple[str, LazyTensor]]
    left: Mapping[str, str]
    rest: Mapping[str, LazyTensor]
    evidence: tuple[str, ...]
    sets: tuple[WeightSet, ...]
    undecided: tuple[str, ...] = ()
    candidates: tuple[Group, ...] = ()


def select(
    tree: Any, *, file: object, path: tuple[str, ...] = (), weights: str | None = None
) -> Selection:
    """Choose what of a tree is the model.

    Args:
        tree: What a file holds, or the part of it that ``--key`` names.
        file: For messages.
        path: The way to that part.
        weights: ``--weights``.

    Returns:
        A selection without networks where nothing is there that could be one.

    Raises:
        SourceError: It is damaged, or what is there cannot be a whole model.
        LayoutError: ``weights`` asks for a set that is not there, or that fits in two ways.
    """
    groups = scan(tree, file=file, path=path)
    return _Chooser(groups, path, weights).selection()


class _Chooser:
    """The steps of the rule; each takes from what the one before it left."""

    def __init__(self, groups: Sequence[Group], path: tuple[str, ...], weights: str | None) -> None:
        self.groups = groups
        self.path = path
        self.weights = weights
        places = (place for group in groups for place in group.places.values())
        self.order = {place: index for index, place in enumerate(places)}
        self.left: dict[str, str] = {}
        self.rest: dict[str, LazyTensor] = {}
        self.evidence: list[str] = []
        self.sets: list[WeightSet] = []
        self.candidates: list[Group] = []

    def selection(self) -> Selection:
        """Classify every group, then pair averages, then take what was asked for."""
        networks, loose = self.classified()
        divided: list[Network] = []
        pairs: list[Pair] = []
        for network in networks:
            more, found, counters = averages.divided(network)
            divided += more
            pairs += found
            self.left |= counters
            tensors = {network.places[name]: tensor for name, tensor in network.tensors.items()}
            self.rest |= {place: tensors[place] for place in counters}
        divided = _lightning(divided)
        divided, found, open_ = averages.paired(divided)
        pairs += found
        loose, listed, also = self.lists(loose, [*divided, *(pair.raw for pair in pairs)])
        pairs += listed
        divided = [n for n in divided if not any(n is pair.raw for pair in pairs)]
        taken, undecided = self.decided(divided, pairs, [*open_, *also])
        if not taken:
            for group in loose:
                self.drop(group, ALONE)
            loose = []
        statistics = self.statistics(loose)
        self.told(taken, statistics)
        return Selection(
            tuple(taken),
            statistics,
            self.left,
            self.rest,
            tuple(self.evidence),
            tuple(self.sets),
            undecided,
            tuple(self.candidates),
        )

    def drop(self, group: Group, why: str, names: Iterable[str] | None = None) -> None:
        """Leave a group's tensors, or some of them, with a reason for the ledger."""
        for name in group.tensors if names is None else names:
            self.left[group.places[name]] = why
            self.rest[group.places[name]] = group.tensors[name]

    def classified(self) -> tuple[list[Network], list[Group]]:
        """Return the networks, and the groups of loose tensors beside them."""
        free: list[Group] = []
        averaged: list[Group] = []
        for group in self.groups:
            if group.training:
                if group.training.startswith("callback") and any(map(averaging, group.path)):
                    averaged.append(group)
                else:
                    self.drop(group, group.training)
            else:
                free.append(group)
        objects = [group for group in free if group.inside]
        free = [group for group in free if not group.inside]
        found = [group for group in free if is_network(group)]
        # ``{"model": {"state_dict": …, "mean": …}}``: what is called a model only wraps one.
        found = [group for group in found if group.has_parameters or not _wraps(group, found)]
        if not found:
            found = _of_an_object(objects)
            self.candidates = [group for group in objects if group.has_parameters and not found]
        if not found and not self.candidates:
            free = self.without_training(free)
            found = _last_resort(free)
        free = [group for group in free if not any(group is network for network in found)]
        for group in objects:
            if any(group is network for network in found):
                continue
            self.drop(group, f"{OBJECT}{group.inside}")
        loose = self.without_training(free)
        networks = [self.network(home, parts) for home, parts in layered(found)]
        if networks:
            loose += [group for group in averaged if group.kind == "list"]
            for group in averaged:
                if group.kind != "list":
                    candidate = as_network(group)
                    if any(averages.same_shapes(n, candidate) for n in networks):
                        networks.append(candidate)
                        continue
                    self.drop(group, group.training)
        return networks, loose

    def network(self, home: tuple[str, ...], parts: list[Group]) -> Network:
        """Make a network of one group, less figures of training at the top of a file."""
        if len(parts) > 1 or parts[0].path != home:
            return joined(home, parts)
        group = parts[0]
        if group.kind != "mapping" or not (group.plain or len(self.groups) > 1):
            return as_network(group)
        dropped = figures(group) if not any("." in name for name in group.tensors) else []
        dropped = [] if len(dropped) == len(group.tensors) else dropped
        self.drop(group, FIGURE, dropped)
        return as_network(
            group, {n: tensor for n, tensor in group.tensors.items() if n not in dropped}
        )

    def without_training(self, groups: list[Group]) -> list[Group]:
        """Leave states and figures of training; return the groups with what else they hold."""
        kept = []
        for group in groups:
            alone = len(self.groups) == 1 and group.path == self.path and not group.plain
            if alone and len(generator_states(group)) < len(group.tensors):
                kept.append(group)  # nothing but tensors: whatever their names, a state dict
                continue
            if group.perhaps and not averages.is_list(group):
                self.drop(group, group.perhaps)
                continue
            states = generator_states(group)
            below = group.path != self.path
            metrics = [] if below and group.kind == "list" else figures(group)
            if below and group.kind != "loose":
                # Beside others of their own, ``count`` and ``mean`` are no figures of training.
                metrics = metrics if len(metrics) == len(group.tensors) else states
            gone = [*dict.fromkeys([*states, *metrics])]
            self.drop(group, "random number state", states)
            self.drop(group, FIGURE, [n for n in gone if n not in states])
            tensors = {n: t for n, t in group.tensors.items() if n not in gone}
            if tensors:
                places = {name: group.places[name] for name in tensors}
                kept.append(attrs.evolve(group, tensors=tensors, places=places))
        return kept

    def lists(
        self, loose: list[Group], networks: list[Network]
    ) -> tuple[list[Group], list[Pair], list[Undecided]]:
        """Find averages that are lists of parameters among loose tensors."""
        kept, pairs, open_ = [], [], []
        for group in loose:
            found = averages.from_list(group, networks) if averages.is_list(group) else None
            if isinstance(found, Pair):
                pairs.append(found)
            elif isinstance(found, Undecided):
                open_.append(found)
                self.drop(group, f"{UNFIT}in several ways")
            elif averages.is_list(group):
                self.drop(group, f"{UNFIT}no network")
                self.evidence.append(f"an average of weights that fits no network: {group}")
            else:
                kept.append(group)
        return kept, pairs, open_

    def decided(
        self, networks: list[Network], pairs: list[Pair], open_: list[Undecided]
    ) -> tuple[list[Network], tuple[str, ...]]:
        """Take trained weights or averages, as ``--weights`` says."""
        for pair in pairs:
            raw, averaged = pair.raw, pair.averaged
            self.sets.append(WeightSet(raw.place, "raw", raw.tensors))
            self.sets.append(
                WeightSet(averaged.place, "averaged", averaged.tensors, raw.place, raw.tensors)
            )
        for network in networks:
            kind: Literal["raw", "averaged"] = "averaged" if network.averaged else "raw"
            self.sets.append(WeightSet(network.place, kind, network.tensors))
        self.refuse(networks, pairs, open_)
        taken = list(networks)
        want = self.weights in ("averaged", "auto")
        for pair in pairs:
            chosen = pair.mixed() if want else pair.raw
            other = pair.raw if want else pair.averaged
            if want:
                chosen = attrs.evolve(chosen, path=pair.raw.path)
            taken.append(chosen)
            used = set(chosen.places.values())
            why = f"{CHOSEN}{'raw' if want else 'averaged'}"
            for name, tensor in other.tensors.items():
                if other.places[name] not in used:
                    self.left[other.places[name]] = why
                    self.rest[other.places[name]] = tensor
            place = pair.averaged.place if want else pair.raw.place
            if self.weights is not None:
                word = "averaged weights" if want else "weights as trained"
                more = f"; not {other.place or 'the top'} ({why})"
                self.evidence.append(f"{word}, from {place or 'the top'}{more}")
        for network in networks:
            if network.averaged:
                where = network.place or "all there is"
                self.evidence.append(f"{where} is an average of weights; no others are there")
        taken.sort(key=lambda network: self.position(network))
        undecided: tuple[str, ...] = ()
        if pairs and self.weights is None:
            self.evidence += [
                f"weights as trained ({pair.raw.place or 'the top'}) and an average of them "
                f"({pair.averaged.place}) are both there: --weights raw, averaged or auto chooses"
                for pair in pairs
            ]
            undecided = tuple(
                place or "the top"
                for pair in pairs
                for place in (pair.raw.place, pair.averaged.place)
            )
        return taken, undecided

    def position(self, network: Network) -> int:
        """Return where in the file a network lies, for the order of components."""
        first = next(iter(network.places.values()))
        return self.order.get(first, len(self.order))

    def refuse(self, networks: list[Network], pairs: list[Pair], open_: list[Undecided]) -> None:
        """Refuse to choose what was asked for where it is not there, or could be several things.

        Raises:
            LayoutError: It is so.
        """
        if open_ and self.weights in ("averaged", "auto"):
            one = open_[0]
            raise LayoutError(
                f"the average {one.place} fits {' and '.join(one.fits)}",
                remedy=f"take the weights as trained with --weights raw, or {one.place} by itself "
                f"with --key {one.place}",
            )
        for each in open_:
            self.evidence.append(
                f"an average of weights that is not taken: {each.place} fits "
                f"{' and '.join(each.fits)}"
            )
        alone = [network for network in networks if network.averaged]
        wanted = {"averaged": pairs or alone, "raw": pairs or len(alone) < len(networks)}
        if self.weights in wanted and not wanted[self.weights]:
            there = ", ".join(network.place or "the top" for network in networks)
            word = "averaged" if self.weights == "averaged" else "raw"
            raise LayoutError(
                f"there are no {word} weights",
                seen=[f"there: {there}, {'an average' if alone else 'weights as trained'}"],
                remedy="leave out --weights",
            )

    def statistics(self, loose: list[Group]) -> dict[str, tuple[str, LazyTensor]]:
        """Return the loose tensors beside networks, under their places less what wraps."""
        found: dict[str, tuple[str, LazyTensor]] = {}
        for group in loose:
            counters = [name for name, t in group.tensors.items() if averages.is_counter(name, t)]
            self.drop(group, COUNTER, counters)
            for name, tensor in group.tensors.items():
                if name in counters:
                    continue
                path = (*without_wrappers(group.path), name) if name else group.path
                place = unlike(".".join(path), found)
                found[place] = group.places[name], tensor
            self.sets.append(WeightSet(group.place, "statistics", group.tensors))
        return found

    def told(self, taken: list[Network], statistics: Mapping[str, tuple[str, LazyTensor]]) -> None:
        """Say what was taken and what was not."""
        if statistics:
            size = sum(tensor.nbytes for _, tensor in statistics.values())
            self.evidence.append(
                f"beside the networks, taken as {STATISTICS}: {few(list(statistics), 8)} "
                f"({counted(len(statistics), 'tensor')}, {size:,} bytes)"
            )
        for network in taken:
            where = f"{network.place}: " if len(taken) > 1 else ""
            self.evidence += [f"{where}{sentence}" for sentence in network.said]
            self.left |= network.plain
            if network.inside:
                self.evidence.append(
                    f"the one module of the file lies at {network.place}, in a {network.inside}"
                )


def _lightning(networks: list[Network]) -> list[Network]:
    """Of Lightning's ``WeightAveraging`` the average is ``state_dict``: the trained lie beside."""
    paths = {network.path for network in networks}
    return [
        attrs.evolve(network, averaged=True)
        if network.path[-1:] == ("state_dict",)
        and (*network.path[:-1], "current_model_state") in paths
        else network
        for network in networks
    ]


def _wraps(group: Group, networks: Sequence[Group]) -> bool:
    """Whether another network lies in the mapping that a group's tensors lie in."""
    length = len(group.path)
    return any(
        each is not group and each.path[:length] == group.path and each.has_parameters
        for each in networks
    )


def _of_an_object(objects: list[Group]) -> list[Group]:
    """Return the one module among the attributes of objects, where no state dict is there."""
    modules = [group for group in objects if group.kind == "module" and group.tensors]
    return modules if len(modules) == 1 else []


def _last_resort(groups: list[Group]) -> list[Group]:
    """Return groups without parameters where there is no network: bare tensors are a state dict."""
    return [group for group in groups if group.kind in ("mapping", "list") or not group.path]


def network_components(networks: Sequence[Network]) -> list[str]:
    """Name the component of each network; of one alone, ``model``."""
    if len(networks) == 1:
        return ["adapter" if networks[0].path[-1:] == ("adapter_model",) else "model"]
    return network_names([network.path for network in networks])
