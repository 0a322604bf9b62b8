from __future__ import annotations

import time

import pytest

from convcore.bench.clock import HostClock


def test_the_host_clock_times_exactly_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([1_000, 51_000])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(ticks))
    calls: list[str] = []

    taken = HostClock().time(lambda: calls.append("called"))

    assert taken == 50_000
    assert calls == ["called"]
