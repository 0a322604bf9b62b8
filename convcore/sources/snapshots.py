"""Files of one network saved several times, told from files of several networks."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PARTS = re.compile(r"[A-Za-z]+|\d+")
# Words that say which of several times it was, and those a number stands beside.
_BEST = frozenset(("best", "last", "latest", "final"))
_NUMBERED = frozenset(("epoch", "epochs", "step", "steps", "iter", "iters", "ckpt", "checkpoint"))

Shapes = Mapping[str, tuple[int, ...]]


def snapshots(names: Mapping[str, Shapes]) -> list[list[str]]:
    """Group the names that are snapshots of one network; groups of two or more.

    Args:
        names: Stem of a file, or name of a folder, to the keys and shapes of what it holds.
    """
    groups: dict[str, list[str]] = {}
    dated: set[str] = set()
    for name in names:
        root, told = _root(name)
        groups.setdefault(root, []).append(name)
        if told:
            dated.add(name)
    for name in [
        name for name in names if name not in dated
    ]:  # ``10_net_G`` beside ``latest_net_G``
        root = "_".join(part for part in _PARTS.findall(name.lower()) if not part.isdigit())
        same = (names[other] == names[name] for other in dated.intersection(groups.get(root, ())))
        if name not in groups.get(root, ()) and any(same):
            groups[root].append(name)
    found = [group for group in groups.values() if len(group) > 1 and dated.intersection(group)]
    taken = {name for group in found for name in group}
    bare: dict[str, list[str]] = {}
    for name in names:
        if name not in taken and re.search(r"\d", name):
            bare.setdefault(re.sub(r"\d+", "", name), []).append(name)
    for group in bare.values():
        numbers = [int(n[:15]) for name in group for n in re.findall(r"\d+", name)]
        alike = all(names[name] == names[group[0]] for name in group)
        if len(group) > 1 and alike and max(numbers) > len(names):
            found.append(group)
    return found


def _root(name: str) -> tuple[str, bool]:
    """A name without the words and numbers that say when it was saved, and whether it had some."""
    parts = _PARTS.findall(name)
    lower = [part.lower() for part in parts]
    dropped = set()
    for index, part in enumerate(lower):
        if part in _BEST:
            dropped.add(index)
        if part.isdigit():
            near = [i for i in (index - 1, index + 1) if 0 <= i < len(lower)]
            beside = [i for i in near if lower[i] in _NUMBERED]
            if beside:
                dropped |= {index, *beside}
    kept = [part for index, part in enumerate(lower) if index not in dropped]
    return "_".join(part for part in kept if part not in _NUMBERED), bool(dropped)
