"""Channels of an output: is each as near to the exact value as float32 comes by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# How much further from the float64 result a runtime may be than torch in float32 is: it sums in
# another order. Right graphs of all built-in layouts need up to 3.4 with their trained weights
# (benchmarks/parity_calibration.py).
FACTOR = 16
# No error below this many units in the last place of a channel's largest value counts.
FLOOR = 4
# What is asked of a whole output where no float64 result is to be had.
SNR_DB = 60.0


@attrs.frozen
class Channel:
    """The channel of an output that comes nearest to its limit, or is furthest beyond it.

    Attributes:
        axis: Axis of the output along which its channels lie; None where it is one channel.
        index: Which of them.
        error: Largest distance of what was found from the float64 result, over all runs.
        noise: The same of torch's own float32 result.
        allowed: Limit of ``error``.
        run: Number of the run with that error.
    """

    axis: int | None
    index: int
    error: float
    noise: float
    allowed: float
    run: int

    @property
    def fits(self) -> bool:
        """Whether the error is within the limit."""
        return self.error <= self.allowed

    @property
    def share(self) -> float:
        """Error as a share of the limit."""
        return self.error / self.allowed

    @property
    def place(self) -> str:
        """Which channel, in words."""
        return "as a whole" if self.axis is None else f"channel {self.index} of axis {self.axis}"


def furthest(
    reference: Sequence[Array], found: Sequence[Array], exact: Sequence[Array | None]
) -> Channel | None:
    """Return the worst channel of one output, over all runs; None where nothing is finite.

    A channel's limit is ``FACTOR`` times the error that the reference itself has. Where few values
    were seen that error may be nearly zero by luck: what is usual for the other channels, relative
    to their largest values, counts too.

    Args:
        reference: The output of each run, by torch in float32.
        found: By the runtime.
        exact: By torch in float64; None where that was left out, and the reference stands in.
    """
    import numpy as np

    worst: Channel | None = None
    for axis in channel_axes(reference):
        noise, error, largest = (
            np.stack([_by_channel(values, axis) for values in each])
            for each in zip(
                *(_distances(*one) for one in zip(reference, found, exact, strict=True)),
                strict=True,
            )
        )
        own, size = noise.max(axis=0), largest.max(axis=0)
        if not own.size:
            continue
        usual = float(np.median(own[size > 0] / size[size > 0])) if size.any() else 0.0
        unit = np.spacing(size.astype(np.float32)).astype(np.float64)
        allowed = np.maximum(FACTOR * np.maximum(own, usual * size), FLOOR * unit)
        allowed = np.maximum(allowed, np.finfo(np.float64).tiny)
        total = error.max(axis=0)
        place = int(np.argmax(total / allowed))
        one = Channel(
            axis,
            place,
            float(total[place]),
            float(own[place]),
            float(allowed[place]),
            int(np.argmax(error[:, place])),
        )
        if worst is None or one.share > worst.share:
            worst = one
    return worst


def snr_db(reference: Sequence[Array], found: Sequence[Array]) -> float | None:
    """Signal-to-noise ratio of one output over all runs; None where nothing differs."""
    import numpy as np

    signal = noise = 0.0
    for one, other in zip(reference, found, strict=True):
        a, b = one.astype(np.float64), other.astype(np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        signal += float(np.square(a[finite]).sum())
        noise += float(np.square(a[finite] - b[finite]).sum())
    if not noise:
        return None
    return 10 * float(np.log10(signal / noise)) if signal else -np.inf


def channel_axes(arrays: Sequence[Array]) -> Iterator[int | None]:
    """Yield the last axis, and axis 1 of images; an axis that varies has no channels."""
    rank = arrays[0].ndim
    axes = (1, -1) if rank == 4 else (-1,) if rank > 1 else ()
    fixed = [axis for axis in axes if len({array.shape[axis] for array in arrays}) == 1]
    yield from fixed
    if not fixed:
        yield None


def _distances(reference: Array, found: Array, exact: Array | None) -> tuple[Array, Array, Array]:
    """Errors of the reference and of what was found, and sizes; 0 where one is not finite."""
    import numpy as np

    truth = (reference if exact is None else exact).astype(np.float64)
    finite = np.isfinite(truth) & np.isfinite(reference) & np.isfinite(found)
    with np.errstate(invalid="ignore", over="ignore"):
        return (
            np.where(finite, np.abs(reference - truth), 0.0),
            np.where(finite, np.abs(found - truth), 0.0),
            np.where(finite, np.abs(truth), 0.0),
        )


def _by_channel(values: Array, axis: int | None) -> Array:
    import numpy as np

    if axis is None:
        return np.asarray(values.max(initial=0.0)).reshape(1)
    rest = tuple(other for other in range(values.ndim) if other != axis % values.ndim)
    found: Array = values.max(axis=rest, initial=0.0)
    return found
