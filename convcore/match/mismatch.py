"""Why no layout explains a checkpoint, or the one that is named does not, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import product

import attrs

from convcore.errors import ConvcoreError, LayoutError
from convcore.match.candidates import Candidate, consider
from convcore.model import Checkpoint, Layout
from convcore.names import counted, few, nearest, shared_prefix

# Keys and prefixes that are told of many.
SHOWN = 12
# How many dotted parts of a foreign prefix are looked below.
_DEEPEST = 4


def unexplained(checkpoint: Checkpoint, held: Sequence[Candidate]) -> list[str]:
    """Say what the keys look like and which layouts come nearest."""
    seen = [f"top-level prefixes: {', '.join(sorted(prefixes(checkpoint.tensors))[:SHOWN])}"]
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
        f"{counted(len(group), 'tensor')} {word}"
        for group, word in ((solution.missing, "missing"), (solution.misshapen, "of wrong shape"))
        if group
    )
    return LayoutError(
        f"{checkpoint.path.name} looks like {layout.name}, but has {what}: {few(named)}",
        seen=seen,
        remedy="check how the file was saved; --layout plain takes it as it is",
    )


def _shape(shape: Iterable[int | str]) -> str:
    return f"({', '.join(map(str, shape))})"
