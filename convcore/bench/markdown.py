"""A benchmark as markdown, for a README."""

from __future__ import annotations

from collections.abc import Sequence

from convcore.bench.columns import Cell, cells, heading, remarks, text
from convcore.bench.machine import described
from convcore.bench.record import Benchmark, graphs_of


def as_markdown(benchmark: Benchmark) -> str:
    """One table per graph, with what is to be known about it below."""
    subject = benchmark.subject
    versions = ", ".join(f"{name} {version}" for name, version in benchmark.versions.items())
    parts = [
        f"### {subject.get('name')} ({subject.get('layout')})",
        f"{described(benchmark.machine)}; {versions}.",
    ]
    for graph, rows in graphs_of(benchmark.rows).items():
        parts += [f"#### {heading(graph, rows)}", table(*cells(rows))]
        parts += ["\n".join(f"- {remark}" for remark in remarks(rows))]
    parts += ["\n".join(f"- {note}" for note in benchmark.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table; columns of numbers are set to the right."""
    right = [
        all(row[index] is None or isinstance(row[index], int | float) for row in rows)
        for index in range(len(headings))
    ]
    lines = [headings, ["---:" if number else "---" for number in right]]
    lines += [[text(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
