"""How far two sets of the same weights lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convcore.sources.selection import WeightSet
from convcore.tensors import LazyTensor
from convcore.tensors.in_step import in_step

if TYPE_CHECKING:
    import numpy as np

_PIECE = 1 << 20


def equal(one: Mapping[str, LazyTensor], two: Mapping[str, LazyTensor]) -> bool:
    """Whether all tensors that both have are equal byte for byte."""
    for name in one.keys() & two.keys():
        here, there = one[name], two[name]
        if here.identity == there.identity:
            continue
        if here.unsupported or there.unsupported or here.spec != there.spec:
            return False
        if any(a != b for a, b in in_step(here.chunks(_PIECE), there.chunks(_PIECE))):
            return False
    return True


def distance(one: Mapping[str, LazyTensor], two: Mapping[str, LazyTensor]) -> float | None:
    """Return the root mean square of the differences, relative to that of the first set's values.

    None where nothing can be computed: no names in common, or types NumPy cannot subtract.
    """
    import numpy as np

    squares = reference = 0.0
    count = 0
    for name in one.keys() & two.keys():
        here, there = one[name], two[name]
        floating = all(
            each.dtype in ("float16", "float32", "float64", "bfloat16") for each in (here, there)
        )
        if here.unsupported or there.unsupported or not floating or here.shape != there.shape:
            continue
        values, others = _floats(here), _floats(there)
        squares += float(np.square(values - others).sum())
        reference += float(np.square(values).sum())
        count += values.size
    if not count or not np.isfinite(squares) or not np.isfinite(reference):
        return None
    return float(np.sqrt(squares / reference)) if reference else float(np.sqrt(squares / count))


def weight_set(each: WeightSet) -> dict[str, Any]:
    """One set of weights; of an average, how far from the trained weights it lies."""
    return {
        "path": each.path,
        "kind": each.kind,
        "tensors": len(each.tensors),
        "bytes": sum(tensor.nbytes for tensor in each.tensors.values()),
        "of": each.of,
        "distance": None if each.of is None else distance(each.like, each.tensors),
    }


def _floats(tensor: LazyTensor) -> np.ndarray[Any, Any]:
    import numpy as np

    if tensor.dtype == "bfloat16":
        return (tensor.raw().astype("<u4") << 16).view("<f4").astype(np.float64)
    return tensor.numpy().astype(np.float64)
