"""What machine this is: enough to tell whether two benchmarks may be compared."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

IDENTITY = ("processor", "architecture", "cores", "system", "cuda")
"""The facts in which two benchmarks have to agree to be of one machine."""

_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def machine(cuda: tuple[str, ...] = ()) -> dict[str, Any]:
    """Describe this machine; ``cuda`` names its CUDA devices."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "architecture": platform.machine(),
        "cores": usable_cores(),
        "memory_bytes": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "governor": _governor(),
        "load_average": round(os.getloadavg()[0], 2),
        "cuda": list(cuda),
    }


def usable_cores(quota: Path = _CGROUP) -> int:
    """Processors this process may use: its affinity, or less where a container grants less.

    Source: cgroup v2, ``cpu.max`` holds quota and period in microseconds.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = allowed or os.cpu_count() or 1
    try:
        granted, period = quota.read_text("ascii").split()
        cores = min(cores, max(1, math.ceil(int(granted) / int(period))))
    except (OSError, ValueError):
        pass  # no such file, or "max": no limit
    return cores


def described(machine: Mapping[str, Any]) -> str:
    """One line: processor, cores, memory, system, CUDA devices."""
    return ", ".join(_parts(machine))


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In which facts two machines differ that decide about speed."""
    return [
        f"{fact}: {one.get(fact)} and {other.get(fact)}"
        for fact in IDENTITY
        if one.get(fact) != other.get(fact)
    ]


def _parts(machine: Mapping[str, Any]) -> Iterator[str]:
    cores = machine.get("cores")
    yield str(machine.get("processor", "unknown processor"))
    yield f"{cores} core{'s' * (cores != 1)}"
    if machine.get("memory_bytes"):
        yield f"{machine['memory_bytes'] / 2**30:.0f} GiB"
    yield f"{machine.get('system')} {machine.get('architecture')}"
    yield from machine.get("cuda", ())


def _first(path: str, field: str) -> str | None:
    try:
        for line in Path(path).read_text("utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    except OSError:
        pass
    return None


def _memory() -> int | None:
    total = _first("/proc/meminfo", "MemTotal")
    return int(total.split()[0]) << 10 if total else None


def _governor() -> str | None:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return None
