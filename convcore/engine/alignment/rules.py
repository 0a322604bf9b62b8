"""The fewest rules that rename as pairs say: patterns first, single names where none fits."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from convcore.sources.rename_rules import Rule

_OPTION = "--align"


def smallest(pairs: Mapping[str, str], every: Sequence[str]) -> list[Rule]:
    """Return rules, in the order in which ``--rename`` takes them, that give each pair's name.

    The rule that sets most right is taken again and again, each put before those that it is an
    exception to.

    Args:
        pairs: Every paired name to its new one, which may be the same.
        every: All names, those without a partner too: no two may become one.
    """
    outcome = {name: name for name in every}
    rules: list[Rule] = []
    made = {old: list(_candidates(old, new)) for old, new in pairs.items() if old != new}
    while wrong := [old for old, new in pairs.items() if outcome[old] != new]:
        support = Counter(each for old in wrong for each in made.get(old, ((old, pairs[old]),)))
        best: tuple[int, Rule, dict[str, str]] | None = None
        # What was drawn from many pairs sets many right: hardly more than the first are tried.
        for (old, new), bound in sorted(support.items(), key=_by_use):
            if best is not None and bound <= best[0]:
                break
            rule = Rule(old, new, _OPTION)
            changes = {name: made_ for name in every if (made_ := rule.renamed(name)) is not None}
            gain = sum(
                (changed == pairs[name]) - (outcome[name] == pairs[name])
                for name, changed in changes.items()
                if name in pairs
            )
            if best is None or gain > best[0]:
                best = gain, rule, changes
        assert best is not None  # there is a pair to be set right
        if best[0] <= 0:
            old = wrong[0]
            best = 1, Rule(old, pairs[old], _OPTION), {old: pairs[old]}
        rules.insert(0, best[1])
        outcome |= best[2]
    return [*_apart(pairs, every, outcome), *rules]


def _by_use(item: tuple[tuple[str, str], int]) -> tuple[int, int, int, str]:
    (old, new), count = item
    return -count, old.count("*"), len(old) + len(new), old


def _apart(
    pairs: Mapping[str, str], every: Sequence[str], outcome: Mapping[str, str]
) -> Iterator[Rule]:
    """Keep names without a partner as they are, or apart, where a pattern makes them another's."""
    taken = set(pairs.values())
    for name in every:
        if name in pairs:
            continue
        new = outcome[name]
        if new in taken:
            new = name
            while new in taken:
                new = f"unused.{new}"
            yield Rule(name, new, _OPTION)
        taken.add(new)


def _candidates(old: str, new: str) -> Iterator[tuple[str, str]]:
    """Yield what may rename one name to another: a prefix, what differs amid stars, the name."""
    if "*" in old or "*" in new:
        return
    ours, theirs = old.split("."), new.split(".")
    tail = 0
    while tail < min(len(ours), len(theirs)) and ours[-1 - tail] == theirs[-1 - tail]:
        tail += 1
    for kept in range(1, tail + 1):
        yield (
            ".".join([*ours[: len(ours) - kept], "*"]),
            ".".join([*theirs[: len(theirs) - kept], "*"]),
        )
    blocks = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    for literal in (lambda token: False, lambda token: not token.isdecimal()):
        left, right = _starred(ours, theirs, blocks, literal)
        if "*" in left:
            yield left, right
    yield old, new


def _starred(
    ours: Sequence[str],
    theirs: Sequence[str],
    blocks: Sequence[tuple[str, int, int, int, int]],
    literal: Callable[[str], bool],
) -> tuple[str, str]:
    """Put a star for each run of equal parts, but those that are to stay literal."""
    left: list[str] = []
    right: list[str] = []
    for tag, a, b, c, d in blocks:
        if tag != "equal":
            left += ours[a:b]
            right += theirs[c:d]
            continue
        for token in ours[a:b]:
            part = token if literal(token) else "*"
            if part == "*" and left[-1:] == ["*"] and right[-1:] == ["*"]:
                continue
            left.append(part)
            right.append(part)
    return ".".join(left), ".".join(right)
