from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import latency
from convcore.bench.rows import with_speedups
from tests.bench.synthetic import benchmark, row


def test_speed_ups_at_batch_one_are_joined_by_their_geometric_mean() -> None:
    rows = [
        row([8.0] * 9, graph="a"),
        row([1.0] * 9, graph="a", backend="onnxruntime"),
        row([1.0] * 9, graph="a", backend="onnxruntime", batch=8),
        row([8.0] * 9, graph="b"),
        row([4.0] * 9, graph="b", backend="onnxruntime"),
    ]

    lines = latency.speedups([benchmark(*with_speedups(rows))]).splitlines()

    assert lines[2:] == [
        "| cyclegan | last.ckpt | a |  | 8 |",
        "| cyclegan | last.ckpt | b |  | 2 |",
        "| geometric mean |  |  |  | 4 |",
    ]


def test_clocks_agree_within_five_percent_either_way() -> None:
    found = [
        latency.Clocked("etm", "full", "torch", ours=1.0, theirs=1.04),
        latency.Clocked("etm", "full", "onnxruntime", ours=1.04, theirs=1.0),
        latency.Clocked("etm", "decoder", "torch", ours=1.2, theirs=1.0),
    ]

    told = latency.clock_table(found)

    assert "| etm | decoder | torch | 1.2 | 1 | +20.0% |" in told
    assert told.endswith("2 of 3 within 5%; the widest apart differ by 20 %.")


def test_a_table_replaces_the_one_before_it_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("head\n<!-- cpu -->\n\nold\n\n<!-- end of cpu -->\ntail\n")
    monkeypatch.setattr(latency, "README", readme)

    for content in ("first", "second"):
        latency.put_into_readme("cpu", content)

    assert readme.read_text() == "head\n<!-- cpu -->\n\nsecond\n\n<!-- end of cpu -->\ntail\n"


def test_the_readme_has_a_place_for_every_table() -> None:
    text = latency.README.read_text("utf-8")

    for name in ("clocks", "speed-ups", "cpu"):
        assert text.count(f"<!-- {name} -->\n") == 1
        assert text.count(f"<!-- end of {name} -->") == 1


def test_every_example_system_is_timed() -> None:
    systems = {path.relative_to(latency.EXAMPLES).parts[0] for path, _ in latency.examples()}

    assert systems == {"etm", "cyclegan", "autoencoder", "seqsetvae", "umc"}
