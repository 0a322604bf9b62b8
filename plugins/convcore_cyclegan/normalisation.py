"""``normalization_params.json``: read with suspicion, because it comes with the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from convcore import LayoutError, SourceError
from convcore.formats import read_json

FILE = "normalization_params.json"
NAMES = ("mean_a", "std_a", "mean_b", "std_b")
_LIMIT = 16 << 20
# What float32 can hold; NaN is not below it either.
_LARGEST = 3.4e38


class Normalisation(NamedTuple):
    """Mean and standard deviation of each channel in both domains; ``std`` is above 0."""

    mean_a: tuple[float, ...]
    std_a: tuple[float, ...]
    mean_b: tuple[float, ...]
    std_b: tuple[float, ...]

    @property
    def unified(self) -> bool:
        """Whether both domains were normalised by the same numbers."""
        return self.mean_a == self.mean_b and self.std_a == self.std_b


def read_normalisation(path: Path, channels: int) -> Normalisation:
    """Read and check the file.

    Raises:
        LayoutError: It is no such JSON, a list has not ``channels`` numbers, or a number is not
            finite or no possible standard deviation; every fault is named.
    """
    try:
        found = read_json(path, largest=_LIMIT)
    except (OSError, SourceError) as error:
        raise _refusal(path, [str(error)[:300]]) from error
    if not isinstance(found, dict):
        raise _refusal(path, ["it holds no JSON object"])
    faults = [fault for name in NAMES if (fault := _fault(name, found.get(name), channels))]
    if faults:
        raise _refusal(path, faults)
    return Normalisation(*(tuple(float(value) for value in found[name]) for name in NAMES))


def _fault(name: str, values: Any, channels: int) -> str | None:
    if not isinstance(values, list):
        return f"{name} is no list"
    if len(values) != channels:
        return f"{name} has {len(values)} numbers, the networks have {channels} channels"
    for place, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{name}[{place}] is no number"
        if not abs(value) < _LARGEST:
            return f"{name}[{place}] is not finite in float32"
        if name.startswith("std") and not value > 1e-30:
            return f"{name}[{place}] is {value}, which is no standard deviation to divide by"
    return None


def _refusal(path: Path, faults: list[str]) -> LayoutError:
    return LayoutError(
        f"{path.name} beside the checkpoint does not hold the normalisation of its features",
        seen=faults,
        remedy=f"mend {path.name}, or move it away to convert without normalisation",
    )
