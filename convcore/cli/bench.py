"""``convcore bench``."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from convcore.cli import options
from convcore.cli.commands import Invocation
from convcore.errors import ConvcoreError, TargetError, UsageError, VerificationError
from convcore.escape import printable
from convcore.interrupts import uninterrupted
from convcore.options import Backend, BenchOptions

if TYPE_CHECKING:
    from convcore.bench.engine import Plan
    from convcore.bench.record import Benchmark
    from convcore.bench.request import Request

_WIDE = 140


@click.command("bench")
@options.taking(BenchOptions)
@options.as_json
@click.pass_obj
def command(invocation: Invocation, /, *, as_json: bool, **given: Any) -> None:
    """Time what DIR (an output of convert) or CHECKPOINT computes, and check that it is right.

    Every contender runs in a process of its own and is compared with torch eager on the same
    seeded inputs; one that computes something else is shown as failed. Where others kept the
    machine busy, calls fall into two heaps, or the median is not known well, the result is unsure
    and there is no speed-up.
    """
    from convcore.bench.engine import bench
    from convcore.bench.plot import check_plot, write_plot
    from convcore.bench.saved import save
    from convcore.cli import show

    asked = BenchOptions(**given)
    if as_json and asked.markdown:
        raise UsageError("--json and --markdown exclude each other", remedy="give one of them")
    if asked.plot:
        check_plot(asked.plot)
    so_far: list[Benchmark] = []

    def keep(benchmark: Benchmark) -> None:
        so_far[:] = [benchmark]
        if asked.save:
            save(benchmark, asked.save)

    try:
        with show.progress(quiet=as_json) as told:
            bench(_request(invocation, asked), _plan(asked), keep, lambda s: told(s, 0, 0))
    finally:  # an interrupt too leaves what was finished
        error = _judgement(so_far[0]) if so_far else None
        if so_far and so_far[0].rows:
            with uninterrupted():
                _tell(so_far[0], error, as_json=as_json, markdown=asked.markdown)
                if asked.plot:
                    write_plot(so_far[0], asked.plot)
    if error is not None:
        if as_json:
            click.get_current_context().exit(error.exit_code)
        raise error


def _request(invocation: Invocation, asked: BenchOptions) -> Request:
    from convcore.bench.devices import check_device
    from convcore.bench.request import Request

    for device in asked.devices:
        try:
            check_device(device)
        except ValueError as error:
            raise UsageError(str(error), remedy="give --device one of these") from error
    return Request(
        str(asked.path),
        "",
        _chosen(asked),
        asked.devices,
        {**_sizes(asked.sizes), "batch": tuple(sorted(set(asked.batches)))},
        asked.components,
        seed=asked.seed,
        conversion={"layout": asked.layout, **asked.opening()},
        layout_file=str(asked.layout_file) if asked.layout_file else None,
        disabled=invocation.disabled,
    )


def _plan(asked: BenchOptions) -> Plan:
    from convcore.bench.engine import Plan
    from convcore.bench.sampling import Method

    rules: dict[str, Any] = {
        "min_iterations": asked.min_iterations,
        "min_seconds": asked.min_time,
        "max_seconds": asked.max_time,
        "warmup_seconds": asked.warmup_time,
        "interval": asked.precision and asked.precision / 100,
    }
    return Plan(
        _chosen(asked),
        tuple(dict.fromkeys(asked.threads)),
        asked.rounds,
        Method(**{name: value for name, value in rules.items() if value is not None}),
        asked.atol,
    )


def _chosen(asked: BenchOptions) -> tuple[Backend, ...]:
    """The backends asked for, torch eager first, since the others are compared with it."""
    from convcore.bench.record import BACKENDS

    return tuple(name for name in BACKENDS if name in (asked.backends or BACKENDS))


def _sizes(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    sizes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        axis, _, size = text.partition("=")
        if not axis or not (size.isascii() and size.isdigit() and 0 < int(size) < 10**9):
            raise UsageError(f"--size {text} is not understood", remedy="write --size AXIS=N")
        if axis == "batch":
            raise UsageError("--size batch is --batch-size", remedy=f"write --batch-size {size}")
        sizes[axis] = tuple(sorted({*sizes.get(axis, ()), int(size)}))
    return sizes


def _judgement(benchmark: Benchmark) -> ConvcoreError | None:
    """An error where something was computed wrongly, or nothing at all; None where all is well."""
    from convcore.bench.columns import contender

    wrong = [row for row in benchmark.rows if row.parity is not None and not row.parity.passed]
    if not wrong and any(row.status == "ok" for row in benchmark.rows):
        return None
    seen = [f"{row.graph}, {contender(row)}: {row.reason}" for row in wrong or benchmark.rows]
    if wrong:
        return VerificationError(
            f"{len(seen)} of {len(benchmark.rows)} contenders differ from torch eager",
            seen=seen,
            remedy="convert the checkpoint again, let convcore verify look at it, or set --atol",
        )
    return TargetError(
        f"none of {len(seen)} contenders could be timed",
        seen=seen,
        remedy="each reason names what is missing",
    )


def _tell(
    benchmark: Benchmark, error: ConvcoreError | None, *, as_json: bool, markdown: bool
) -> None:
    from convcore.bench.columns import table_of
    from convcore.bench.machine import described
    from convcore.bench.markdown import as_markdown
    from convcore.bench.record import graphs_of
    from convcore.bench.saved import as_document
    from convcore.cli import show

    if as_json:
        document = as_document(benchmark) | ({"error": error.as_dict()} if error else {})
        click.echo(json.dumps(document, separators=(",", ":")))  # on one line: samples are many
        return
    if markdown:
        click.echo("\n".join(map(printable, as_markdown(benchmark).split("\n"))), nl=False)
        return
    click.echo(described(benchmark.machine))
    narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < _WIDE
    for graph, rows in graphs_of(benchmark.rows).items():
        show.view(table_of(graph, rows, narrow=narrow))
        click.echo()
    for note in benchmark.notes:
        click.echo(note, file=sys.stderr)
