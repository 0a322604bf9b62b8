"""Why no layout explains a checkpoint, or the one that is named does not, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import product
from typing import NamedTuple

import attrs

from convcore.errors import ConvcoreError, LayoutError
from convcore.layouts.candidates import DECOY, Candidate, consider, covered
from convcore.layouts.layout import Layout
from convcore.names import assigner, counted, few, nearest, shared_prefix
from convcore.sources.names import PREFIXES
from convcore.sources.source import Checkpoint
from convcore.tensors import TensorSpec

# Keys and prefixes that are told of many.
SHOWN = 12
# How many dotted parts of a foreign prefix are looked below.
_DEEPEST = 4
# Layouts that are told of, nearest first.
_NEAREST = 3
# A network of its own has this many keys at least: `weight` and `bias` alone are anybody's.
_TELLING = 8
# Files with more keys are not held against every layout many times over, which takes seconds.
_MOST = 3_000


def unexplained(
    checkpoint: Checkpoint, held: Sequence[Candidate], meant: Collection[str] = ()
) -> list[str]:
    """Say what the keys look like and which layouts come nearest, those that were meant first."""
    layouts = [candidate.layout for candidate in held]
    said: list[str] = []
    if len(checkpoint.tensors) <= _MOST:
        said += _under_a_prefix(checkpoint, layouts)
        said += _wrapped_inside(checkpoint, layouts)
        said += _one_component(checkpoint, layouts)
    alike = [_likeness(candidate, checkpoint) for candidate in held]
    alike.sort(key=lambda each: (each.name not in meant, -each.shared, len(each.absent), each.name))
    near = [each for each in alike if each.shared or each.name in meant]
    top = f"top-level prefixes: {', '.join(sorted(prefixes(checkpoint.tensors))[:SHOWN])}"
    return [top, *said, *(f"nearest layout {each.name}: {each}" for each in near[:_NEAREST])]


class _Likeness(NamedTuple):
    """What a layout and a checkpoint have in common, and what the checkpoint lacks of it.

    Attributes:
        name: Of the layout.
        shared: How many of its keys are there.
        known: How many that is of; 0 where the layout does not say.
        absent: Required components without any tensor.
        missing: Required keys of the other components.
    """

    name: str
    shared: int
    known: int
    absent: Sequence[str]
    missing: Sequence[str] = ()

    def __str__(self) -> str:
        said = []
        if self.shared:
            share = f"{self.shared} of its {self.known}" if self.known else f"{self.shared}"
            said.append(f"{share} keys are there")
        if self.absent:
            said.append(f"no tensor of {', '.join(self.absent)}")
        if self.shared and self.missing:
            said.append(f"missing: {few(self.missing)}")
        return "; ".join(said) or "no key in common"


def _likeness(candidate: Candidate, checkpoint: Checkpoint) -> _Likeness:
    layout, absent = candidate.layout, candidate.absent
    small = len(checkpoint.tensors) <= _MOST
    found = covered(layout, _specs(checkpoint)) if small else None
    if found is None:
        return _Likeness(layout.name, len(candidate.claimed), 0, absent)
    shared, solution = found
    owner = assigner([(key, part.name) for part in layout.components for key in part.keys])
    missing = [key for key in solution.missing if owner(key) not in absent]
    known = len(shared) + len(solution.missing)
    return _Likeness(layout.name, len(shared), known, absent, missing)


def _specs(checkpoint: Checkpoint, prefix: str = "") -> dict[str, TensorSpec]:
    return {f"{prefix}{key}": tensor.spec for key, tensor in checkpoint.tensors.items()}


def _under_a_prefix(checkpoint: Checkpoint, layouts: Iterable[Layout]) -> Iterator[str]:
    """Say which layouts the keys would be those of, were it not for what all of them begin with."""
    parts = shared_prefix(checkpoint.tensors).split(".")[:-1][:_DEEPEST]
    cuts = [".".join(parts[: count + 1]) + "." for count in range(len(parts))]
    for layout, cut in product(layouts, cuts):
        bare = {key.removeprefix(cut): value for key, value in checkpoint.tensors.items()}
        with suppress(ConvcoreError):
            if consider(layout, attrs.evolve(checkpoint, tensors=bare)).near:
                yield f"below {cut!r} the keys are those of {layout.name}: save that part by itself"


def _wrapped_inside(checkpoint: Checkpoint, layouts: Iterable[Layout]) -> Iterator[str]:
    """Say which layouts it would be, were it not for wrappers around the networks inside."""
    for layout, wrapper in product(layouts, PREFIXES):
        inner = f".{wrapper}"
        found = [key for key in checkpoint.tensors if inner in key]
        bare = {key.replace(inner, "."): value for key, value in checkpoint.tensors.items()}
        if not found or len(bare) < len(checkpoint.tensors):
            continue
        with suppress(ConvcoreError):
            candidate = consider(layout, attrs.evolve(checkpoint, tensors=bare))
            if candidate.near and candidate.complete:
                yield (
                    f"without {wrapper!r} inside {counted(len(found), 'key')}, such as "
                    f"{found[0]}, they are those of {layout.name}: save the state dict of each "
                    "network without its wrapper"
                )


def _one_component(checkpoint: Checkpoint, layouts: Iterable[Layout]) -> Iterator[str]:
    """Say of which layouts the keys are one component's, that was saved by itself."""
    for layout in layouts:
        fits = [
            part.name
            for part in layout.components
            if any(_saved_alone(checkpoint, layout, key) for key in part.keys)
        ]
        if fits:
            yield (
                f"the keys are those of {' or '.join(fits)} of {layout.name}, saved without the "
                "rest: give the whole checkpoint, or the folder with the files of all components"
            )


def _saved_alone(checkpoint: Checkpoint, layout: Layout, prefix: str) -> bool:
    if not prefix.endswith(".") or len(checkpoint.tensors) < _TELLING:
        return False
    specs = _specs(checkpoint, prefix)
    # A schema that takes whatever is put below a prefix says nothing of what that is.
    decoy = f"{prefix}{DECOY}"
    found = covered(layout, {**specs, decoy: TensorSpec("float32", (1,))})
    if found is None or decoy in found[0]:
        return False
    shared, solution = found
    lacking = sum(key.startswith(prefix) for key in solution.missing)
    return not solution.misshapen and len(shared) > lacking and 2 * len(shared) > len(specs)


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
    seen = [*_wrapped_inside(checkpoint, [layout])] if len(unknown) <= _MOST else []
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
