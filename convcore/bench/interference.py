"""How much of the machine others used while something was timed."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # idle, iowait


@attrs.frozen
class CpuUse:
    """Processor time so far, in seconds summed over all processors.

    Attributes:
        total: Time that has passed, times processors.
        busy: Part of it spent working for anybody, stolen time included.
        own: Part of it spent by this process and its children.
    """

    total: float
    busy: float
    own: float


def cpu_use(stat: Path = _STAT) -> CpuUse | None:
    """Read the counters; None where the system has no ``/proc/stat``.

    Source: proc(5), fields user, nice, system, idle, iowait, irq, softirq, steal; guest time is
    counted in user already.
    """
    try:
        first = stat.read_text("ascii").split("\n", 1)[0]
    except OSError:
        return None
    ticks = [int(field) for field in first.split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    idle = sum(ticks[index] for index in _IDLE)
    own = sum(os.times()[:4])
    return CpuUse(sum(ticks) / hertz, (sum(ticks) - idle) / hertz, own)


def others_share(before: CpuUse | None, after: CpuUse | None) -> float | None:
    """Share of all processors that others used between two readings, from 0 to 1.

    None where it cannot be known: no counters, or less than a tick has passed.
    """
    if before is None or after is None or after.total <= before.total:
        return None
    others = (after.busy - before.busy) - (after.own - before.own)
    return min(1.0, max(0.0, others / (after.total - before.total)))
