"""A benchmark as markdown, for a README."""

from __future__ import annotations

from convcore.bench.columns import table_of
from convcore.bench.machine import described
from convcore.bench.record import Benchmark, graphs_of
from convcore.report.view import markdown


def as_markdown(benchmark: Benchmark) -> str:
    """One table per graph, with what is to be known about it below."""
    subject = benchmark.subject
    versions = ", ".join(f"{name} {version}" for name, version in benchmark.versions.items())
    parts = [
        f"### {subject.get('name')} ({subject.get('layout')})",
        f"{described(benchmark.machine)}; {versions}.",
    ]
    for graph, rows in graphs_of(benchmark.rows).items():
        table = table_of(graph, rows)
        parts += [f"#### {table.title}", markdown(table)]
    parts += ["\n".join(f"- {note}" for note in benchmark.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"
