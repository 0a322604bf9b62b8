"""Pairs of keys: within groups of one shape, by likeness of name, by neighbours and by order."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from convcore.engine.alignment.likeness import features, indices, leaf, likeness, role, words_of
from convcore.engine.alignment.wanted import Key
from convcore.noun import Noun

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.float64]]

_ROUNDS = 3
# What makes neighbours, equal places of other layers and order worth, beside likeness (0 to 1).
_NEIGHBOUR, _ROLE, _ORDER, _KIND = 0.5, 0.3, 0.3, 0.3
_FORBIDDEN = 1e6
# A pair whose exchange with another changes less than this is not told apart by names.
_CLOSE = 0.02


@attrs.frozen(eq=False, repr=False)
class Pairs(Noun):
    """Which key of one side is which of the other.

    Attributes:
        names: Key of the first to that of the second.
        doubtful: Keys of the first that neither names nor shape nor order tell from others.
    """

    names: Mapping[str, str]
    doubtful: frozenset[str]


def pair(first: Sequence[Key], second: Sequence[Key]) -> Pairs:
    """Pair keys of two sides, each with one of its shape at most.

    Args:
        first: Keys in the order of their file.
        second: Keys that are wanted, in the order of theirs.
    """
    names = shifted(first, second)
    wanted = {each.name: each for each in second}
    taken = set(names.values())
    for each in first:
        other = wanted.get(each.name)
        same = other is not None and other.name not in taken and each.shape == other.shape
        if same and each.name not in names:
            names[each.name] = each.name
            taken.add(each.name)
    left = [each for each in first if each.name not in names]
    lacking = [each for each in second if each.name not in taken]
    # A key that is there with another shape is no other key.
    clash = {each.name for each in left} & {each.name for each in lacking}
    groups = list(
        _groups(
            [each for each in left if each.name not in clash],
            [each for each in lacking if each.name not in clash],
            kinds=(_kinds(first), _kinds(second)),
            ordered=_in_order(first) and _in_order(second),
        )
    )
    found: dict[str, str] = {}
    sure: set[str] = set()
    for _ in range(_ROUNDS):
        votes = _Votes(found)
        found = dict(each for group in groups for each in group.assigned(votes))
        found = _in_step(found, {key.name: key.shape for key in left})
    for _ in range(_ROUNDS):
        votes = _Votes({name: found[name] for name in sure})
        sure = {name for group in groups for name in group.certain(found, votes)}
    forced = set(_forced(found, names, first, second))
    kept = {a: b for a, b in found.items() if a not in forced}
    return Pairs(names | kept, frozenset(kept.keys() - sure))


def shifted(first: Sequence[Key], second: Sequence[Key]) -> dict[str, str]:
    """Return the pairs of layers whose indices moved, all else the same: ``net.0`` to ``net.1``."""
    pairs: dict[str, str] = {}
    ours, theirs = _numbered(first), _numbered(second)
    for place in sorted(ours.keys() & theirs.keys(), key=lambda place: place.count(".")):
        one, other = ours[place], theirs[place]
        if one.keys() == other.keys() or len(one) != len(other):
            continue
        steps = list(zip(sorted(one), sorted(other), strict=True))
        if all(_alike(one[a], other[b]) for a, b in steps):
            for a, b in steps:
                for rest in one[a]:
                    pairs.setdefault(f"{place}{a}.{rest}", f"{place}{b}.{rest}")
    return pairs if len(set(pairs.values())) == len(pairs) else {}


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two layers have keys of the same names and shapes, as far as these are told."""
    return one.keys() == other.keys() and all(
        other[rest] in (shape, None) for rest, shape in one.items()
    )


def _in_step(found: Mapping[str, str], shapes: Mapping[str, Any]) -> dict[str, str]:
    """Pair layers whose indices are others in their order: 0, 1, 2 with 1, 2, 3."""
    by_role: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for a, b in found.items():
        by_role[role(a), role(b)].append((a, b))
    stepped = dict(found)
    for pairs in by_role.values():
        ours, theirs = (sorted(side, key=_counting) for side in zip(*pairs, strict=True))
        if {indices(a) for a in ours} == {indices(b) for b in theirs}:
            continue
        steps = dict(zip(ours, theirs, strict=True))
        if len({shapes[a] for a in ours}) == 1:
            stepped |= steps
    return stepped


def _numbered(keys: Iterable[Key]) -> dict[str, dict[int, dict[str, Any]]]:
    """Prefix to index to what lies below it, with its shape."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    for key in keys:
        tokens = key.name.split(".")
        for place, token in enumerate(tokens[:-1]):
            if token.isdecimal() and token.isascii() and token == str(int(token[:9])):
                prefix = "".join(f"{each}." for each in tokens[:place])
                found[prefix][int(token)][".".join(tokens[place + 1 :])] = key.shape
    return found


def _in_order(keys: Sequence[Key]) -> bool:
    """Whether the order can be that of the modules: an alphabetical one tells nothing."""
    names = [key.name for key in keys]
    return len(names) > 1 and names != sorted(names)


def _forced(
    found: Mapping[str, str],
    same: Mapping[str, str],
    first: Sequence[Key],
    second: Sequence[Key],
) -> Iterator[str]:
    """Yield keys that share only a shape with theirs, while their neighbours go elsewhere."""
    sizes = [Counter(_home(key.name) for key in side) for side in (first, second)]
    together = Counter((_home(a), _home(b)) for a, b in {**same, **found}.items())
    for a, b in found.items():
        home, other = _home(a), _home(b)
        alone = together[home, other] == 1 and min(sizes[0][home], sizes[1][other]) > 1
        if alone and not words_of(home) & words_of(other):
            yield a


def _kinds(keys: Sequence[Key]) -> dict[str, str]:
    """Say of each key what lies beside it: a batch norm has other parameters than a convolution."""
    beside: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        beside[_home(key.name)].append(leaf(key.name) or key.name.rpartition(".")[2])
    said = {home: " ".join(sorted(names)) for home, names in beside.items()}
    return {key.name: said[_home(key.name)] for key in keys}


def _groups(
    first: Sequence[Key],
    second: Sequence[Key],
    *,
    kinds: tuple[dict[str, str], dict[str, str]],
    ordered: bool,
) -> Iterator[_Group]:
    # Where a message tells no shapes, what a name ends with has to do.
    unknown = any(each.shape is None for each in second)
    ours: dict[object, list[str]] = defaultdict(list)
    theirs: dict[object, list[str]] = defaultdict(list)
    for side, keys in ((ours, first), (theirs, second)):
        for key in keys:
            side[leaf(key.name) if unknown else key.shape].append(key.name)
    for shape in ours.keys() & theirs.keys():
        yield _Group(ours[shape], theirs[shape], kinds, ordered=ordered)


class _Votes:
    """How often the neighbours of one key were paired with those of another."""

    def __init__(self, pairs: Mapping[str, str]) -> None:
        self.homes = Counter((_home(a), _home(b)) for a, b in pairs.items())
        self.roles = Counter((role(a), role(b)) for a, b in pairs.items())
        self.of_home = Counter(_home(a) for a in pairs)
        self.of_role = Counter(role(a) for a in pairs)

    def added(self, first: Sequence[str], second: Sequence[str]) -> Matrix:
        import numpy as np

        total = np.zeros((len(first), len(second)))
        for weight, of, votes, counts in (
            (_NEIGHBOUR, _home, self.homes, self.of_home),
            (_ROLE, role, self.roles, self.of_role),
        ):
            rows, columns = _places(map(of, first)), _places(map(of, second))
            for (a, b), count in votes.items():
                if a in rows and b in columns:
                    total[np.ix_(rows[a], columns[b])] += weight * count / counts[a]
        return total


def _home(name: str) -> str:
    return name.rpartition(".")[0]


def _places(labels: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for place, label in enumerate(labels):
        found[label].append(place)
    return found


class _Group:
    """Keys of one shape on both sides."""

    def __init__(
        self,
        first: Sequence[str],
        second: Sequence[str],
        kinds: tuple[dict[str, str], dict[str, str]],
        *,
        ordered: bool,
    ) -> None:
        import numpy as np

        # An alphabetical order is at least made to count: layer 2 before layer 10.
        key = (lambda name: 0) if ordered else _counting
        self.first, self.second = sorted(first, key=key), sorted(second, key=key)
        self.ordered = ordered
        self.like = likeness(features(self.first), features(self.second))
        ours = np.array([kinds[0][name] for name in self.first], object)
        theirs = np.array([kinds[1][name] for name in self.second], object)
        self.like += _KIND * (ours[:, None] == theirs[None, :])
        rows = np.arange(len(first))[:, None] / len(first)
        columns = np.arange(len(second))[None, :] / len(second)
        self.apart = np.abs(rows - columns)
        ends = [[leaf(name) for name in side] for side in (self.first, self.second)]
        both = np.array(ends[0], object)[:, None], np.array(ends[1], object)[None, :]
        self.barred = (both[0] != both[1]) & (both[0] != "") & (both[1] != "")
        self.even = Counter(ends[0]) == Counter(ends[1])

    def assigned(self, votes: _Votes) -> Iterator[tuple[str, str]]:
        import numpy as np
        from scipy.optimize import linear_sum_assignment

        value = self.like + votes.added(self.first, self.second) - _ORDER * self.apart
        cost = np.where(self.barred, _FORBIDDEN, -value)
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if not self.barred[row, column]:
                yield self.first[row], self.second[column]

    def certain(self, found: Mapping[str, str], votes: _Votes) -> Iterator[str]:
        """Yield the keys whose partner names tell, or order where both sides have as many."""
        import numpy as np

        value = np.where(self.barred, -_FORBIDDEN, self.like + votes.added(self.first, self.second))
        place = {name: column for column, name in enumerate(self.second)}
        rows = [row for row, name in enumerate(self.first) if name in found]
        columns = [place[found[self.first[row]]] for row in rows]
        own = value[rows, columns]
        crossed = value[np.ix_(rows, columns)]
        gain = own[:, None] + own[None, :] - crossed - crossed.T
        np.fill_diagonal(gain, np.inf)
        free = sorted(set(range(len(self.second))) - set(columns))
        idle = sorted(set(range(len(self.first))) - set(rows))
        for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
            rivals = [*(value[row, free]), *(value[idle, column])]
            told = min(own[index] - max(rivals, default=-np.inf), gain[index].min())
            if told > _CLOSE or (self.ordered and self.even and not rivals):
                yield self.first[row]


def _counting(name: str) -> tuple[tuple[int, str], ...]:
    parts = re.split(r"(\d+)", name)
    return tuple((int(part[:18]), "") if part.isdecimal() else (-1, part) for part in parts)
