"""Peak memory of this process."""

from __future__ import annotations

import resource
from pathlib import Path

_SELF = Path("/proc/self")


def reset_peak() -> None:
    """Forget the largest resident size so far, where the system can (Linux, proc(5))."""
    try:
        (_SELF / "clear_refs").write_text("5")
    except OSError:
        return  # the peak since the start is then what can be told


def peak_resident() -> int:
    """Largest resident size in bytes, since ``reset_peak`` where that works."""
    try:
        for line in (_SELF / "status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
