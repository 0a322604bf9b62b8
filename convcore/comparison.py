"""``diff``: two checkpoints or outputs, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore import manifest
from convcore.archive import LazyTensor
from convcore.host import Registry
from convcore.read import read_checkpoint
from convcore.reopen import written
from convcore.weights import bounded

if TYPE_CHECKING:
    import numpy as np


def diff(first: Path, second: Path, registry: Registry) -> dict[str, Any]:
    """Compare two checkpoints or output folders by tensor name and value.

    Returns:
        ``identical`` and, by name, what is ``same``, ``changed`` (with the largest absolute
        difference, or the two shapes), ``missing`` from the second and ``added`` in it.

    Raises:
        ConvcoreError: One of them cannot be read.
    """
    one, two = named_tensors(first, registry), named_tensors(second, registry)
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
    }


def named_tensors(path: Path, registry: Registry) -> Mapping[str, LazyTensor]:
    """Return the tensors of a checkpoint, or of an output folder under their source's names."""
    if (path / manifest.NAME).is_file():
        return dict(written(path, manifest.load(path)))
    return read_checkpoint(path, registry).tensors


def compare(one: LazyTensor, two: LazyTensor) -> dict[str, Any] | None:
    """Say how two tensors differ; None when type, shape and every byte agree."""
    if one.unsupported or two.unsupported:
        return {"unsupported": one.unsupported or two.unsupported}
    if one.spec != two.spec:
        return {
            "dtype": [one.dtype, two.dtype],
            "shape": [list(one.shape), list(two.shape)],
        }
    if all(a == b for a, b in zip(one.chunks(), two.chunks(), strict=True)):
        return None
    here, there = _numbers(one), _numbers(two)
    if here is None or there is None:
        return {"max_abs": None}
    import numpy as np

    with np.errstate(invalid="ignore"):
        distance = np.abs(here - there)
    # Where both are NaN, or the same infinity, nothing differs that a number could tell.
    finite = distance[np.isfinite(distance)]
    differing = ~((here == there) | (np.isnan(here) & np.isnan(there)))
    return {
        "max_abs": float(finite.max()) if finite.size else None,
        "elements_changed": int(np.count_nonzero(differing)),
        "elements": int(here.size),
    }


def _numbers(tensor: LazyTensor) -> np.ndarray[Any, Any] | None:
    """The values as float64 or complex128; None for types that NumPy has no arithmetic for."""
    import numpy as np

    data = b"".join(bytes(piece) for piece in tensor.chunks())
    if tensor.dtype == "bfloat16":
        # A bfloat16 is the upper half of a float32.
        halves = np.frombuffer(data, "<u2").astype("<u4") << 16
        return halves.view("<f4").astype(np.float64).reshape(tensor.shape)
    if tensor.dtype.startswith(("float8", "complex32")):
        return None
    values = np.frombuffer(data, np.dtype(tensor.dtype).newbyteorder("<")).reshape(tensor.shape)
    return values.astype(np.complex128 if tensor.dtype.startswith("complex") else np.float64)
