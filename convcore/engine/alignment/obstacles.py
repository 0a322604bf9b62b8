"""Why keys have no partner: another shape, fused projections, counters, weight norm, nothing."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from convcore.engine.alignment.likeness import leaf
from convcore.engine.alignment.wanted import Key

_NEAREST = 3
_COUNTER = "num_batches_tracked"
# How projections of attention are called, by themselves and in one.
_PARTS = re.compile(
    r"(?<![a-z])(?:to_?|w_?)?(query|key|value|q|k|v)(?:_?(?:proj|lin|linear))?(?![a-z])"
)
_WHOLE = re.compile(r"qkv|in_proj|c_attn|query_key_value", re.IGNORECASE)


def explain(
    first: Sequence[Key], second: Sequence[Key], spelt: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Say of each key without a partner why it has none, and what comes nearest.

    Args:
        first: Those of the first side.
        second: Those that the second wants.
        spelt: Key of the first to its name after the rules.
    """
    named = [Key(spelt.get(each.name, each.name), each.shape, each.name) for each in first]
    said: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for reasons in (_counters, _fused, _weight_norm, _shapes):
        for one, other, why in reasons(
            [each for each in named if each.author not in said[0]],
            [each for each in second if each.name not in said[1]],
        ):
            said[0].update(dict.fromkeys(one, why))
            said[1].update(dict.fromkeys(other, why))
    return {
        "first": [_row(each, each.author, said[0], second) for each in named],
        "second": [_row(each, each.name, said[1], named) for each in second],
    }


Reason = tuple[list[str], list[str], str]


def _row(key: Key, name: str, said: Mapping[str, str], others: Sequence[Key]) -> dict[str, Any]:
    near = _nearest(key, others)
    why = said.get(name) or ("only its name comes near" if near else "nothing is like it")
    return {
        "name": name,
        "shape": None if key.shape is None else list(key.shape),
        "why": why,
        "nearest": [
            {"name": o.author, "shape": None if o.shape is None else list(o.shape)} for o in near
        ],
    }


def _nearest(key: Key, others: Sequence[Key]) -> list[Key]:
    import difflib

    same_kind = {o.name: o for o in others if leaf(o.name) == leaf(key.name)}
    close = difflib.get_close_matches(key.name, list(same_kind)[:2000], n=_NEAREST, cutoff=0.6)
    return [same_kind[name] for name in close]


def _counters(first: Sequence[Key], second: Sequence[Key]) -> Iterator[Reason]:
    lacking = [key.name for key in second if key.name.endswith(_COUNTER)]
    over = [key.author for key in first if key.name.endswith(_COUNTER)]
    if lacking:
        yield [], lacking, "a counter of batch norm, which torch fills in where a file lacks it"
    if over:
        yield over, [], "a counter of batch norm, which the second does not have"


def _fused(first: Sequence[Key], second: Sequence[Key]) -> Iterator[Reason]:
    """Find projections of queries, keys and values that are apart here and one tensor there."""
    for apart, whole, ours in ((first, second, True), (second, first, False)):
        triples = _triples(apart)
        for one in whole:
            fits = [
                three for three in triples if _WHOLE.search(one.name) and _sum_of(three, one.shape)
            ]
            if not fits:
                continue
            three = max(fits, key=lambda keys: _shared(keys[0].name, one.name))
            triples.remove(three)
            names = [key.author for key in three]
            where = ("the first", "the second") if ours else ("the second", "the first")
            why = (
                f"{one.author} {_text(one.shape)} of {where[1]} is {', '.join(names)} "
                f"{_text(three[0].shape)} of {where[0]} in one (fused QKV): no renaming does that"
            )
            yield (names, [one.name], why) if ours else ([one.author], names, why)


def _triples(keys: Sequence[Key]) -> list[list[Key]]:
    found: dict[str, dict[str, Key]] = defaultdict(dict)
    for key in keys:
        for match in _PARTS.finditer(key.name.lower()):
            stem = f"{key.name[: match.start()]}?{key.name[match.end() :]}"
            found[stem].setdefault(match[1][0], key)
    return [[parts[p] for p in "qkv"] for parts in found.values() if parts.keys() == set("qkv")]


def _sum_of(three: Sequence[Key], whole: tuple[int, ...] | None) -> bool:
    shapes = [key.shape for key in three]
    if whole is None or any(shape is None for shape in shapes):
        return True  # a message tells no shapes
    if not whole or any(not shape or shape[1:] != whole[1:] for shape in shapes):
        return False
    return sum(shape[0] for shape in shapes if shape) == whole[0]


def _shared(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))


def _weight_norm(first: Sequence[Key], second: Sequence[Key]) -> Iterator[Reason]:
    """Find weights that are split by weight norm on one side, and plain on the other."""
    for split, plain, ours in ((first, second, True), (second, first, False)):
        names = {key.name: key for key in plain}
        for key in split:
            stem = re.sub(r"(_g|_v)$", "", key.name)
            stem = re.sub(r"parametrizations\.(weight\w*)\.original[01]$", r"\1", stem)
            if stem == key.name or stem not in names:
                continue
            side = "the first" if ours else "the second"
            why = f"weight norm is on in {side} alone: {names[stem].author} is its product"
            yield ([key.author], [stem], why) if ours else ([names[stem].author], [key.name], why)


def _shapes(first: Sequence[Key], second: Sequence[Key]) -> Iterator[Reason]:
    """Find keys of one name, or of neighbours, whose shapes differ, and say how."""
    ours = {key.name: key for key in first}
    left = dict(ours)
    for key in second:
        one = ours.get(key.name) or next(
            (o for o in _nearest(key, list(left.values())) if _replaced(o.shape, key.shape)), None
        )
        if one is None or one.shape is None or key.shape is None or one.shape == key.shape:
            continue
        left.pop(one.name, None)
        yield [one.author], [key.name], f"{one.author} {_how(one.shape, key.shape)}"
    # A head that was called otherwise: what is last on either side, and differs in its outputs.
    rest = [key for key in second if key.name not in ours]
    for key in rest:
        one = next(
            (o for o in left.values()
             if leaf(o.name) == leaf(key.name) and _replaced(o.shape, key.shape)), None,
        )  # fmt: skip
        if one is not None and one.shape is not None and key.shape is not None:
            left.pop(one.name)
            yield [one.author], [key.name], f"{one.author} {_how(one.shape, key.shape)}"


def _replaced(one: tuple[int, ...] | None, other: tuple[int, ...] | None) -> bool:
    return bool(one and other) and one != other and one[1:] == other[1:]  # type: ignore[index]


def _how(one: tuple[int, ...], other: tuple[int, ...]) -> str:
    told = f"is {_text(one)} in the first and {_text(other)} in the second"
    if _replaced(one, other):
        return f"{told}: another number of outputs, as of a head that was replaced"
    if one == other[::-1]:
        return f"{told}: transposed"
    if math.prod(one) == math.prod(other):
        return f"{told}: as many numbers in another shape"
    return told


def _text(shape: tuple[int, ...] | None) -> str:
    return "of unknown shape" if shape is None else f"[{', '.join(map(str, shape))}]"
