"""``diff``: two checkpoints or outputs, tensor by tensor."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.engine.reopened import as_checkpoint
from convcore.errors import SourceError, UsageError
from convcore.host.registry import Registry
from convcore.manifest import document as manifest
from convcore.names import counted
from convcore.options import DEFAULT_TARGET, DiffOptions
from convcore.sources.distance import weight_set
from convcore.sources.reading import read_checkpoint
from convcore.sources.renaming import renamed
from convcore.sources.source import Checkpoint
from convcore.targets.weights import bounded
from convcore.tensors import LazyTensor
from convcore.tensors.in_step import in_step

if TYPE_CHECKING:
    import numpy as np

_PIECE = 1 << 20
_SIDES = ("first", "second")


def diff(asked: DiffOptions, registry: Registry) -> dict[str, Any]:
    """Compare two checkpoints or output folders by tensor name and value.

    Args:
        asked: The two, and how checkpoints are read.
        registry: Sources to read them with.

    Returns:
        ``identical`` and, by name, what is ``same``, ``changed`` (with the largest absolute
        difference, or the two shapes), ``missing`` from the second and ``added`` in it;
        ``wrappers`` says what was taken off the names of which, ``weight_sets`` which sets of
        weights each file holds, ``renamed`` the keys of those that ``--rename`` is for.

    Raises:
        ConvcoreError: One of them cannot be read.
    """
    if asked.write is not None:
        raise UsageError(
            "--write is for what --align finds", remedy="give --align too, or leave out --write"
        )
    found = list(opened(asked, registry))
    wrappers = [_wrappers({} if each.spelt else each.renamed) for each in found]
    if asked.rename:
        found[0] = renamed(found[0], asked.rename)
    one, two = (each.tensors for each in found)
    for tensors in (one, two):
        bounded(tensors)
    same, changed = [], []
    compared: dict[tuple[object, object], dict[str, Any] | None] = {}
    for name, tensor in one.items():
        other = two.get(name)
        if other is None:
            continue
        # Names that share their elements, here as there, are compared once.
        pair = tensor.identity, other.identity
        if pair not in compared:
            compared[pair] = compare(tensor, other)
        difference = compared[pair]
        if difference is None:
            same.append(name)
        else:
            changed.append({"name": name, **difference})
    missing = [name for name in one if name not in two]
    added = [name for name in two if name not in one]
    return {
        "identical": not (changed or missing or added),
        "same": same,
        "changed": changed,
        "missing": missing,
        "added": added,
        "wrappers": dict(zip(_SIDES, wrappers, strict=True)),
        "renamed": dict(found[0].renamed) if asked.rename else {},
        "weight_sets": {
            side: [weight_set(each) for each in held.weight_sets]
            for side, held in zip(_SIDES, found, strict=True)
        },
    }


def opened(asked: DiffOptions, registry: Registry) -> Iterator[Checkpoint]:
    """Read both, named without wrappers and not renamed yet: ``--rename`` is for the first."""
    for path, key in ((asked.first, asked.key_a), (asked.second, asked.key_b)):
        options = asked.opening() | {"rename": ()} | ({"key": key} if key else {})
        yield named_tensors(path, registry, **options)


def named_tensors(path: Path, registry: Registry, **options: Any) -> Checkpoint:
    """Return a checkpoint, or an output folder as one, its tensors named without wrappers."""
    if (path / manifest.NAME).is_file():
        found = as_checkpoint(path, manifest.load(path), registry.targets)
        if not found.tensors:
            raise SourceError(
                f"{path} holds no weight files that could be compared",
                remedy=f"add them with --to {DEFAULT_TARGET} --add, or give the checkpoint it was "
                "made from",
            )
        return found
    return read_checkpoint(path, registry, **options)


def _wrappers(renamed: Mapping[str, str]) -> list[str]:
    """Say which prefixes were taken off how many names."""
    counts: dict[str, int] = {}
    for name, key in renamed.items():
        prefix = key.removesuffix(name)
        what = f"{prefix!r} before" if prefix != key else "wrappers inside"
        counts[what] = counts.get(what, 0) + 1
    return [f"{what} {counted(count, 'name')}" for what, count in counts.items()]


def compare(one: LazyTensor, two: LazyTensor) -> dict[str, Any] | None:
    """Say how two tensors differ; None when type, shape and every byte agree."""
    if one.unsupported or two.unsupported:
        return {"unsupported": one.unsupported or two.unsupported}
    if one.spec != two.spec:
        return {
            "dtype": [one.dtype, two.dtype],
            "shape": [list(one.shape), list(two.shape)],
        }
    # Piece by piece, so that memory does not depend on the size of a tensor.
    pieces = in_step(one.chunks(_PIECE), two.chunks(_PIECE))
    differing = ((here, there) for here, there in pieces if here != there)
    first = next(differing, None)
    if first is None:
        return None
    if one.dtype.startswith(("float8", "complex32")):
        return {"max_abs": None}  # NumPy has no arithmetic for them
    import numpy as np

    largest: float | None = None
    changed = 0
    for pair in itertools.chain([first], differing):
        here, there = (_numbers(piece, one.dtype) for piece in pair)
        with np.errstate(invalid="ignore"):
            distance = np.abs(here - there).astype(np.float64)
        # Where both are NaN, or the same infinity, nothing differs that a number could tell.
        finite = distance[np.isfinite(distance)]
        if finite.size:
            largest = max(largest or 0.0, float(finite.max()))
        equal = here == there
        if here.dtype != object:
            equal |= np.isnan(here) & np.isnan(there)
        changed += int(np.count_nonzero(~equal))
    return {
        "max_abs": largest,
        "elements_changed": changed,
        "elements": math.prod(one.shape),
    }


def _numbers(data: bytes | memoryview, dtype: str) -> np.ndarray[Any, Any]:
    """The values of a piece: integers exactly, others as float64 or complex128."""
    import numpy as np

    if dtype == "bfloat16":
        # A bfloat16 is the upper half of a float32.
        halves = np.frombuffer(data, "<u2").astype("<u4") << 16
        return halves.view("<f4").astype(np.float64)
    values = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
    if values.dtype.kind in "iu" and values.itemsize == 8:
        return values.astype(object)  # float64 cannot tell neighbours beyond 2**53 apart
    return values.astype(np.complex128 if dtype.startswith("complex") else np.float64)
