"""Agreement of arrays with their references: the figures, and whether they are good enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

TOLERANCE = 1e-5
NOTHING = "there is no finite number to compare"
# Below this share of the largest reference value a relative error says nothing.
_FLOOR = 1e-3


@attrs.frozen
class Tolerance:
    """How far a value may lie from its reference: ``atol + rtol * |reference|``.

    Attributes:
        atol: None stands for 1e-5 x max(1, largest absolute reference value).
        rtol: None stands for 0.
    """

    atol: float | None = None
    rtol: float | None = None

    def absolute(self, largest: float) -> float:
        """Return the absolute part, given the largest absolute reference value."""
        return TOLERANCE * max(1.0, largest) if self.atol is None else self.atol


@attrs.frozen
class Difference:
    """One array held against its reference; figures cover what is finite in both.

    Attributes:
        problem: Why the arrays cannot be compared at all, or None.
        compared: How many numbers were.
        needed: The least absolute tolerance that passes.
        allowed: The absolute tolerance there was.
    """

    problem: str | None = None
    compared: int = 0
    max_abs: float = 0.0
    total_abs: float = 0.0
    max_rel: float = 0.0
    cosine: float | None = None
    snr_db: float | None = None
    nan: int = 0
    inf: int = 0
    largest: float = 0.0
    needed: float = 0.0
    allowed: float = 0.0


def measure(
    runs: Sequence[tuple[Arrays, Arrays]], tolerance: Tolerance
) -> tuple[bool, dict[str, Any]]:
    """Compare outputs with their references and keep the worst of all runs in each figure.

    Args:
        runs: (reference outputs, found outputs) of each run, by name.
        tolerance: Applied to each output; its largest value is that of all runs.

    Returns:
        Whether everything is within the tolerance, and the figures: ``runs``, ``max_abs``,
        ``mean_abs``, ``max_rel`` (against ``max(|reference|, 1e-3 x the largest)``), ``cosine``
        (None where a side is all zeros), ``snr_db`` (None where nothing differs), ``nan`` and
        ``inf`` (counted in what was found), ``largest`` (of the references), ``tolerance`` (of the
        output that comes nearest to its limit), ``smallest_tolerance`` (the least ``atol`` that
        passes with this ``rtol``; None where none does) and, if there are any, ``problems``.
    """
    largest = {
        name: max(_largest(reference[name]) for reference, _ in runs if name in reference)
        for name in dict.fromkeys(name for reference, _ in runs for name in reference)
    }
    each = [
        compare_arrays(name, expected, found.get(name), tolerance, largest[name])
        for reference, found in runs
        for name, expected in reference.items()
    ]
    problems = sorted({one.problem for one in each if one.problem is not None})
    count = sum(one.compared for one in each)
    if not count and not problems:
        problems = [NOTHING]
    tightest = max(each, key=lambda one: one.needed - one.allowed, default=Difference())
    figures: dict[str, Any] = {
        "runs": len(runs),
        "max_abs": max((one.max_abs for one in each), default=0.0),
        "mean_abs": sum(one.total_abs for one in each) / max(1, count),
        "max_rel": max((one.max_rel for one in each), default=0.0),
        "cosine": min((one.cosine for one in each if one.cosine is not None), default=None),
        "snr_db": min((one.snr_db for one in each if one.snr_db is not None), default=None),
        "nan": sum(one.nan for one in each),
        "inf": sum(one.inf for one in each),
        "largest": max((one.largest for one in each), default=0.0),
        "tolerance": tightest.allowed,
        "smallest_tolerance": None if problems else max(one.needed for one in each),
    }
    if problems:
        figures["problems"] = problems
    return not problems and all(one.needed <= one.allowed for one in each), figures


def compare_arrays(
    name: str,
    expected: Array,
    found: Array | None,
    tolerance: Tolerance,
    largest: float | None = None,
) -> Difference:
    """Compare one array with its reference.

    NaN and infinities must stand in the same places, with the same sign; everything else is
    compared in float64. Integers and booleans must be equal, whatever the tolerance.

    Args:
        name: Of the output, for the problem.
        expected: The reference.
        found: What is held against it; None where there is no such output.
        tolerance: Of floating point numbers.
        largest: Absolute value that the default tolerance grows with; None takes the reference's.
    """
    import numpy as np

    if found is None:
        return Difference(f"output {name} is missing")
    if found.shape != expected.shape:
        return Difference(f"output {name} has shape {found.shape}, should have {expected.shape}")
    if found.dtype != expected.dtype:
        return Difference(f"output {name} is {found.dtype}, should be {expected.dtype}")
    if expected.dtype.kind in "iub":
        return _whole(name, expected, found)
    a, b = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    nan, inf = int(np.isnan(b).sum()), int(np.isinf(b).sum())
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        problem = f"output {name} has other NaN or infinite values than its reference"
        return Difference(problem, nan=nan, inf=inf)
    a, b = a[finite], b[finite]
    if not a.size:
        return Difference(nan=nan, inf=inf)
    error, size = np.abs(a - b), np.abs(a)
    own, noise = float(size.max()), _sum(error, error)
    signal, power = _sum(a, a), _sum(b, b)
    floor = max(_FLOOR * own, float(np.finfo(np.float64).tiny))
    return Difference(
        compared=a.size,
        max_abs=float(error.max()),
        total_abs=float(error.sum()),
        max_rel=float((error / np.maximum(size, floor)).max()),
        cosine=_sum(a, b) / math.sqrt(signal * power) if signal and power else None,
        snr_db=10 * math.log10(signal / noise) if signal and noise else None,
        nan=nan,
        inf=inf,
        largest=own,
        needed=max(0.0, float((error - (tolerance.rtol or 0.0) * size).max())),
        allowed=tolerance.absolute(own if largest is None else largest),
    )


def _sum(a: Array, b: Array) -> float:
    """Sum of products, without the threads of a BLAS: they burn time long after so small a job."""
    import numpy as np

    return float(np.einsum("i,i->", a, b))


def _whole(name: str, expected: Array, found: Array) -> Difference:
    """Compare integers or booleans, which have no noise; Python's integers do not overflow."""
    wrong = (expected != found).nonzero()
    problem = None
    if wrong[0].size:
        by = max(abs(int(a) - int(b)) for a, b in zip(expected[wrong], found[wrong], strict=True))
        problem = (
            f"output {name} has {wrong[0].size} of {expected.size} values of {expected.dtype} "
            f"that differ, by up to {by}; these have to be equal"
        )
    return Difference(problem, compared=expected.size, largest=_largest(expected))


def _largest(values: Array) -> float:
    """The largest absolute value that is finite; 0 where there is none."""
    import numpy as np

    size = np.abs(values.astype(np.float64))
    return float(size.max(initial=0.0, where=np.isfinite(size)))
