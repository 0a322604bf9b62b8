"""Which devices to time on, of those that were asked for and those that are there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from convcore.errors import UsageError

_DEVICE = re.compile(r"auto|cpu|cuda(?::\d{1,4})?")
NO_CUDA = "no CUDA device here: only the CPU was timed"


def check_device(name: str) -> str:
    """Return ``name`` when it can name a device; ValueError when not."""
    if _DEVICE.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no device: say auto, cpu, cuda or cuda:0")
    return name


def choose_devices(
    asked: Sequence[str], cuda: int, why_not: str = ""
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the devices to time on, in order and once each, and what is to be said about them.

    Args:
        asked: ``auto`` (the CPU and every CUDA device), ``cpu``, ``cuda`` (every CUDA device) or
            ``cuda:1``.
        cuda: How many CUDA devices torch sees.
        why_not: Why it sees none, where that is known.

    Raises:
        UsageError: A CUDA device that was asked for by name is not there.
    """
    there = [f"cuda:{index}" for index in range(cuda)]
    chosen: list[str] = []
    notes = []
    for name in asked:
        if name.startswith("cuda") and (not there or (":" in name and name not in there)):
            raise UsageError(
                f"the device {name} is not here",
                seen=[f"CUDA devices: {', '.join(there) or why_not or 'none'}"],
                remedy="time on --device cpu, or on a machine whose torch sees this device",
            )
        if name == "auto":
            chosen += ["cpu", *there]
            notes += [] if there else [NO_CUDA]
        else:
            chosen += there if name == "cuda" else [name]
    return tuple(dict.fromkeys(chosen)), tuple(dict.fromkeys(notes))
