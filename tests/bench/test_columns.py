from __future__ import annotations

import attrs

from convcore.bench.columns import figure, heading, remarks, table_of
from convcore.bench.markdown import as_markdown
from convcore.report.view import text
from tests.bench.synthetic import benchmark, row


def test_what_all_rows_share_is_in_the_heading_and_not_in_a_column() -> None:
    rows = [attrs.evolve(row([1.0]), sizes={"batch": 1, "time": 64}),
            attrs.evolve(row([1.0]), sizes={"batch": 8, "time": 64})]  # fmt: skip

    assert heading("encoder", rows) == "encoder, cpu x2, time 64"
    assert table_of("encoder", rows).headings[:3] == ["backend", "batch", "n"]


def test_what_differs_has_a_column() -> None:
    rows = [attrs.evolve(row([1.0]), sizes={"batch": 1, "time": 64}),
            attrs.evolve(row([1.0], threads=1), sizes={"batch": 1, "time": 8})]  # fmt: skip

    table = table_of("encoder", rows)

    assert heading("encoder", rows) == "encoder"
    assert table.headings[:4] == ["backend", "device", "batch", "time"]
    assert [value[1:4] for value in table.rows] == [["cpu x2", 1, 64], ["cpu x1", 1, 8]]


def test_numbers_have_three_significant_digits() -> None:
    assert [text(figure(value)) for value in (0.0123456, 1.239, 99.96, 123456.0)] == [
        "0.0123",
        "1.24",
        "100",
        "123,000",
    ]


def test_failures_and_warnings_are_told_below_the_table() -> None:
    failed = attrs.evolve(row([1.0]), status="failed", reason="parity: differs", summary=None)
    doubtful = attrs.evolve(row([1.0]), warnings=("busy machine",))

    assert remarks([row([1.0]), failed, doubtful]) == [
        "torch, cpu x2, batch=1: parity: differs",
        "torch, cpu x2, batch=1: busy machine",
    ]
    assert [values[-1] for values in table_of("encoder", [row([1.0]), failed, doubtful]).rows] == [
        "ok",
        "FAILED",
        "ok*",
    ]


def test_markdown_has_a_rectangular_table_per_graph() -> None:
    failed = attrs.evolve(row([1.0]), graph="decoder", status="failed", summary=None, runs=())

    lines = as_markdown(benchmark(row([1.0]), failed)).splitlines()

    tables = [line for line in lines if line.startswith("|")]
    assert len({line.count(" | ") for line in tables}) == 1
    assert [line for line in lines if line.startswith("####")] == [
        "#### encoder, cpu x2",
        "#### decoder, cpu x2",
    ]


def test_a_few_calls_have_a_count_and_no_percentiles() -> None:
    table = table_of("encoder", [row([1.0] * 19), row([1.0] * 20)])

    few, many = (dict(zip(table.headings, values, strict=True)) for values in table.rows)
    assert (few["n"], few["p50 ms"]) == (19, 1.0)
    assert [few[name] for name in ("p90", "p95", "p99", "cv %")] == [None] * 4
    assert many["p99"] == 1.0


def test_a_row_in_doubt_is_unsure_and_says_why() -> None:
    doubtful = attrs.evolve(row([1.0] * 30), doubts=("busy machine",), warnings=("cut",))

    assert table_of("encoder", [doubtful]).rows[0][-1] == "unsure"
    assert remarks([doubtful]) == ["torch, cpu x2, batch=1: busy machine; cut"]
