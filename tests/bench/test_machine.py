from __future__ import annotations

import os
from pathlib import Path

import pytest

from convcore.bench.interference import CpuUse, cpu_use, others_share
from convcore.bench.machine import described, differences, machine, usable_cores
from tests.bench.synthetic import MACHINE

TICKS = os.sysconf("SC_CLK_TCK")


def test_the_counters_of_the_first_line_are_summed_up(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    seconds = [10, 1, 5, 80, 2, 1, 1, 3]  # user nice system idle iowait irq softirq steal
    stat.write_text(f"cpu  {' '.join(str(s * TICKS) for s in seconds)} 7 7\ncpu0 1 2 3\n")

    use = cpu_use(stat)

    assert use is not None
    assert (use.total, use.busy) == (103.0, 21.0)


def test_what_others_used_is_what_was_busy_without_oneself() -> None:
    before, after = CpuUse(100, 40, 10), CpuUse(120, 52, 18)

    assert others_share(before, after) == pytest.approx(4 / 20)


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        (CpuUse(100, 40, 10), CpuUse(110, 44, 15), 0.0),  # ticks round: never below none
        (CpuUse(100, 40, 10), CpuUse(100, 40, 10), None),
        (None, CpuUse(100, 40, 10), None),
    ],
    ids=["own above busy", "no time passed", "no counters"],
)
def test_impossible_readings_say_nothing(
    before: CpuUse | None, after: CpuUse | None, share: float | None
) -> None:
    assert others_share(before, after) == share


def test_systems_without_counters_have_no_reading(tmp_path: Path) -> None:
    assert cpu_use(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 4), ("100000 100000", 1), ("250000 100000", 3), ("50000 100000", 1)],
    ids=["no limit", "one", "two and a half", "half a core"],
)
def test_a_container_is_granted_no_more_cores_than_its_quota(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    (tmp_path / "cpu.max").write_text(quota)

    assert usable_cores(tmp_path / "cpu.max") == cores


def test_the_machine_tells_nobody_who_it_is() -> None:
    told = str(machine())

    assert os.uname().nodename not in told or len(os.uname().nodename) < 4


def test_machines_differ_in_what_decides_about_speed_only() -> None:
    assert differences(MACHINE, {**MACHINE, "load_average": 3.0}) == []
    assert differences(MACHINE, {**MACHINE, "cores": 1}) == ["cores: 2 and 1"]


def test_a_machine_is_described_in_one_line() -> None:
    assert described(MACHINE) == "Abacus 9, 2 cores, 8 GiB, Linux 6 x86_64"
