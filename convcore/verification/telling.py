"""Outputs that tell nothing: one that is the same for every input, or saturated, is no proof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from convcore.names import counted, few
from convcore.verification.channels import channel_axes

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# Values nearer than this many units in the last place of the largest are taken for one.
_UNITS = 8


def never_a_number(reference: Sequence[Array]) -> bool:
    """Whether an output is NaN everywhere, for every input."""
    import numpy as np

    floats = [one for one in reference if one.dtype.kind == "f" and one.size]
    return bool(floats) and all(bool(np.isnan(one).all()) for one in floats)


def unknown_channels(name: str, reference: Sequence[Array]) -> Iterator[str]:
    """Say which channels are NaN for every input, in an output of which others are not.

    Args:
        name: Of the output.
        reference: What the network gave in each run; not all of it NaN.
    """
    import numpy as np

    if reference[0].dtype.kind != "f" or not any(np.isnan(one).any() for one in reference):
        return
    for axis in channel_axes(reference):
        if axis is None:
            continue
        rows = [np.moveaxis(one, axis, -1).reshape(-1, one.shape[axis]) for one in reference]
        lost = np.flatnonzero(np.isnan(np.concatenate(rows)).all(axis=0))
        if lost.size:
            names = few([str(place) for place in lost])
            yield (
                f"{counted(lost.size, 'channel')} of axis {axis} of output {name}, NaN for every "
                f"input: {names}"
            )


def silence(name: str, reference: Sequence[Array]) -> str | None:
    """Say why an output proves nothing, or return None where it does.

    Args:
        name: Of the output.
        reference: What the network gave in each run.
    """
    import numpy as np

    values = np.concatenate([one.astype(np.float64).ravel() for one in reference])
    if not values.size:
        return f"output {name} is empty for every input that was tried"
    if reference[0].dtype.kind not in "fiub":
        return None
    values = values[np.isfinite(values)]
    if not values.size:
        return f"output {name} holds no finite number for any input"
    if _constant(reference):
        return f"output {name} is the same for every input that was tried"
    if reference[0].dtype.kind == "f" and len(values) > 2:
        low, high = float(values.min()), float(values.max())
        near = _UNITS * float(np.spacing(np.float32(max(abs(low), abs(high)))))
        if bool(np.all((values - low <= near) | (high - values <= near))):
            return f"output {name} is saturated: it takes no values but {low:.6g} and {high:.6g}"
    return None


def constant_channels(reference: Sequence[Array]) -> int:
    """Count the channels of the last axis that are the same for every input, others being not."""
    widths = {one.shape[-1] for one in reference if one.ndim > 1}
    if len(widths) != 1 or any(one.ndim < 2 for one in reference) or 0 in widths:
        return 0
    return int(_still([one.reshape(-1, one.shape[-1]) for one in reference]).sum())


def _constant(reference: Sequence[Array]) -> bool:
    """Whether every input gives the same: each channel one value, or each run one array."""
    import numpy as np

    if len({one.shape for one in reference}) == 1:
        # Without dynamic axes each place may have a value of its own.
        return bool(_still([one.reshape(1, -1) for one in reference]).all())
    if reference[0].ndim > 1 and len({one.shape[-1] for one in reference}) == 1:
        return bool(_still([one.reshape(-1, one.shape[-1]) for one in reference]).all())
    return bool(_still([np.asarray(one).reshape(-1, 1) for one in reference]).all())


def _still(rows: Sequence[Array]) -> Array:
    """Which columns hold one value, as nearly as float32 can tell; NaN counts as no value."""
    import numpy as np

    table = np.concatenate([one.astype(np.float64) for one in rows])
    table = np.where(np.isfinite(table), table, np.nan)
    with np.errstate(invalid="ignore"):
        low, high = np.fmin.reduce(table), np.fmax.reduce(table)
    largest = np.fmax(np.abs(low), np.abs(high))
    unit = np.spacing(np.where(np.isnan(largest), 0.0, largest).astype(np.float32))
    return np.asarray(np.isnan(low) | (high - low <= _UNITS * unit))
