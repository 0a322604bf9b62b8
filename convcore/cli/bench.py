"""``convcore bench``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convcore.cli import options
from convcore.cli.commands import Session
from convcore.errors import ConvcoreError, TargetError, UsageError, VerificationError
from convcore.escape import printable
from convcore.interrupts import uninterrupted

if TYPE_CHECKING:
    from convcore.bench.engine import Plan
    from convcore.bench.record import Benchmark
    from convcore.bench.request import Request

_BACKENDS = ("torch", "torch-compile", "onnxruntime")
_POSITIVE = click.IntRange(min=1)
_WIDE = 140
_SECONDS = click.FloatRange(min=0, min_open=True)


@click.command("bench")
@click.argument("path", metavar="DIR|CHECKPOINT", type=options.PATH)
@click.option(
    "--device", "devices", multiple=True, default=("auto",), show_default=True,
    metavar="auto|cpu|cuda[:i]", help="Where to time. auto is the CPU and all of CUDA. Repeats.",
)  # fmt: skip
@click.option(
    "--backend", "backends", multiple=True, type=click.Choice(_BACKENDS),
    help="Contender; all of them by default. Repeats.",
)  # fmt: skip
@click.option(
    "--batch-size", "batches", multiple=True, type=_POSITIVE, default=(1, 8, 32),
    show_default=True, help="Repeats.",
)  # fmt: skip
@click.option(
    "--size", "sizes", multiple=True, metavar="AXIS=N",
    help="Size of another dynamic axis, 32 by default. Repeats; every combination is timed.",
)  # fmt: skip
@click.option(
    "--threads",
    multiple=True,
    type=_POSITIVE,
    default=(1,),
    show_default=True,
    help="Repeats; --threads 1 --threads CORES stand side by side.",
)
@click.option("--component", "components", multiple=True, metavar="NAME", help="Time this graph.")
@options.reading
@click.option("--rounds", type=_POSITIVE, default=2, show_default=True,
              help="Processes per contender; more show the noise between processes.")  # fmt: skip
@click.option("--min-iterations", type=_POSITIVE, help="Calls to time at least (30).")
@click.option("--min-time", type=_SECONDS, help="Seconds to time at least (0.5).")
@click.option("--max-time", type=_SECONDS, help="Seconds after which timing stops (5).")
@click.option("--warmup-time", type=_SECONDS, help="Seconds of warm-up at most (3).")
@click.option("--precision", type=_SECONDS, metavar="PERCENT",
              help="Half width of the median's 95 % confidence interval to reach (1).")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the inputs.")
@click.option("--atol", type=float, help="Absolute parity tolerance.")
@click.option("--save", type=options.PATH, metavar="FILE.json", help="Write as rows are finished.")
@click.option("--plot", type=options.PATH, metavar="FILE", help=".png, .svg or .html")
@click.option("--markdown", is_flag=True, help="Print markdown tables.")
@options.as_json
@click.pass_obj
def command(session: Session, /, path: Path, as_json: bool, **given: Any) -> None:
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

    if as_json and given["markdown"]:
        raise UsageError("--json and --markdown exclude each other", remedy="give one of them")
    if given["plot"]:
        check_plot(given["plot"])
    so_far: list[Benchmark] = []

    def keep(benchmark: Benchmark) -> None:
        so_far[:] = [benchmark]
        if given["save"]:
            save(benchmark, given["save"])

    try:
        with show.progress(quiet=as_json) as told:
            bench(_request(session, path, given), _plan(given), keep, lambda s: told(s, 0, 0))
    finally:  # an interrupt too leaves what was finished
        error = _judgement(so_far[0]) if so_far else None
        if so_far and so_far[0].rows:
            with uninterrupted():
                _tell(so_far[0], error, as_json=as_json, markdown=given["markdown"])
                if given["plot"]:
                    write_plot(so_far[0], given["plot"])
    if error is not None:
        if as_json:
            click.get_current_context().exit(error.exit_code)
        raise error


def _request(session: Session, path: Path, given: dict[str, Any]) -> Request:
    from convcore.bench.devices import check_device
    from convcore.bench.request import Request

    for device in given["devices"]:
        try:
            check_device(device)
        except ValueError as error:
            raise UsageError(str(error), remedy="give --device one of these") from error
    return Request(
        str(path),
        "",
        _chosen(given),
        given["devices"],
        {**_sizes(given["sizes"]), "batch": tuple(sorted(set(given["batches"])))},
        given["components"],
        seed=given["seed"],
        conversion={
            "layout": given["layout"],
            "source": given["source"],
            "key": given["key"],
            "config": options.pairs(given["config"], "--config"),
            "allow_opaque_calls": given["allow_opaque_calls"],
        },
        layout_file=str(given["layout_file"]) if given["layout_file"] else None,
        disabled=session.disabled,
    )


def _plan(given: dict[str, Any]) -> Plan:
    from convcore.bench.engine import Plan
    from convcore.bench.sampling import Method

    rules = {
        "min_iterations": given["min_iterations"],
        "min_seconds": given["min_time"],
        "max_seconds": given["max_time"],
        "warmup_seconds": given["warmup_time"],
        "interval": given["precision"] and given["precision"] / 100,
    }
    return Plan(
        _chosen(given),
        tuple(dict.fromkeys(given["threads"])),
        given["rounds"],
        Method(**{name: value for name, value in rules.items() if value is not None}),
        given["atol"],
    )


def _chosen(given: dict[str, Any]) -> tuple[Any, ...]:
    """The backends asked for, torch eager first, since the others are compared with it."""
    return tuple(name for name in _BACKENDS if name in (given["backends"] or _BACKENDS))


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
    from convcore.bench.columns import cells, heading, remarks
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
        show.table(heading(graph, rows), *cells(rows, narrow=narrow))
        show.lines("Remarks", remarks(rows))
        click.echo()
    for note in benchmark.notes:
        click.echo(note, file=sys.stderr)
