"""Inference latency of everything under examples/, by the engine of ``convcore bench``.

python benchmarks/latency.py                      # all examples, tables on stdout
python benchmarks/latency.py OUT_DIR CHECKPOINT   # these instead
python benchmarks/latency.py --write-readme       # and put the tables into README.md
python benchmarks/latency.py --check-clocks       # our medians against others' clocks
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs
import click

from convcore.bench.columns import figure
from convcore.bench.engine import Plan, bench
from convcore.bench.machine import usable_cores
from convcore.bench.markdown import as_markdown
from convcore.bench.plot import write_plot
from convcore.bench.record import BACKENDS, Backend, Benchmark, Row
from convcore.bench.request import Request
from convcore.bench.sampling import Method
from convcore.bench.saved import save
from convcore.report.view import Table, markdown, text

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
README = HERE / "README.md"
PATTERNS: dict[str, dict[str, str]] = {  # with the settings that no file tells
    "etm/models": {},
    "cyclegan/*.ckpt": {},
    "autoencoder/*.pth": {},
    "seqsetvae/*finetune*.ckpt": {},
    "seqsetvae/*pretrain*.ckpt": {},
    "umc/outputs/umc_*": {"nheads": "8"},
}
TOLERANCE = 0.05


@attrs.frozen
class Clocked:
    """One contender by our clock and by another, in milliseconds; see ``clocks.py``."""

    source: str
    graph: str
    backend: str
    ours: float
    theirs: float


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--device", "devices", multiple=True, default=("auto",), show_default=True)
@click.option("--backend", "backends", multiple=True, type=click.Choice(BACKENDS))
@click.option("--batch-size", "batches", multiple=True, type=int, default=(1, 8, 32))
@click.option("--threads", multiple=True, type=int, help="All cores by default.")
@click.option("--rounds", type=int, default=3, show_default=True, help="Processes per contender.")
@click.option("--max-time", type=float, default=Method().max_seconds, show_default=True)
@click.option("--config", multiple=True, metavar="KEY=VALUE", help="For PATHS.")
@click.option("--save-to", type=click.Path(path_type=Path), help="Folder for JSON and SVG files.")
@click.option("--write-readme", is_flag=True, help="Put the tables into benchmarks/README.md.")
@click.option("--check-clocks", is_flag=True, help="Compare with torch's and onnxruntime's own.")
def main(
    paths: tuple[Path, ...],
    devices: tuple[str, ...],
    backends: tuple[Backend, ...],
    batches: tuple[int, ...],
    threads: tuple[int, ...],
    rounds: int,
    max_time: float,
    config: tuple[str, ...],
    save_to: Path | None,
    write_readme: bool,
    check_clocks: bool,
) -> None:
    """Time PATHS (outputs of convcore convert, or checkpoints), or all examples."""
    given = dict(text.split("=", 1) for text in config)
    subjects = [(path, given) for path in paths] or list(examples())
    if check_clocks:
        found = clock_table(clocks(subjects, threads[0] if threads else 1, rounds))
        click.echo(found)
        if write_readme:
            put_into_readme("clocks", found)
        return
    chosen = tuple(name for name in BACKENDS if name in (backends or BACKENDS))
    plan = Plan(chosen, threads or (usable_cores(),), rounds, Method(max_seconds=max_time))
    benchmarks = []
    sizes = {"batch": tuple(sorted(set(batches)))}
    for path, settings in subjects:
        conversion = {"config": settings}
        request = Request(str(path), "", chosen, devices, sizes, conversion=conversion)
        benchmarks.append(bench(request, plan, progress=say))
        if save_to is not None:
            save_to.mkdir(parents=True, exist_ok=True)
            stem = f"{benchmarks[-1].subject['layout']}-{path.stem}"
            save(benchmarks[-1], save_to / f"{stem}.json")
            write_plot(benchmarks[-1], save_to / f"{stem}.svg")
    for name, part in (("speed-ups", speedups(benchmarks)), ("cpu", tables(benchmarks))):
        click.echo(part)
        if write_readme:
            put_into_readme(name, part)


def examples() -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the checkpoints under examples/ with their settings, in the order of PATTERNS."""
    for pattern, settings in PATTERNS.items():
        for path in sorted(EXAMPLES.glob(pattern)):
            yield path, settings


def speedups(benchmarks: Iterable[Benchmark]) -> str:
    """How many times faster than torch eager everything is at batch 1, and the geometric means."""
    rows, ratios = [], dict[str, list[float]]()
    for benchmark in benchmarks:
        for graph, backends in _at_batch_one(benchmark.rows).items():
            line: list[str | float | None] = [
                str(benchmark.subject["layout"]), str(benchmark.subject["name"]), graph
            ]  # fmt: skip
            for backend in BACKENDS[1:]:
                speedup = backends[backend].speedup if backend in backends else None
                line.append(figure(speedup) if speedup else None)
                if speedup:
                    ratios.setdefault(backend, []).append(speedup)
            rows.append(line)
    means = [figure(statistics.geometric_mean(ratios[b])) if b in ratios else None
             for b in BACKENDS[1:]]  # fmt: skip
    headings = ("layout", "input", "graph", *BACKENDS[1:])
    return markdown(Table("", headings, [*rows, ["geometric mean", "", "", *means]]))


def _at_batch_one(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.batch == 1 and row.device == "cpu":
            found.setdefault(row.graph, {}).setdefault(row.backend, row)
    return found


def tables(benchmarks: Sequence[Benchmark]) -> str:
    """Everything measured, one section per subject."""
    return "\n".join(as_markdown(benchmark) for benchmark in benchmarks)


def clocks(
    subjects: Iterable[tuple[Path, dict[str, str]]], threads: int, rounds: int
) -> Iterator[Clocked]:
    """Time every graph of the subjects at batch 1, by our clock and by theirs."""
    with tempfile.TemporaryDirectory() as scratch:
        for number, (path, settings) in enumerate(subjects):
            folder = Path(scratch, str(number))
            words = ["convert", path, "-o", folder, "--to", "pth", "--to", "onnx"]
            words += [word for pair in settings.items() for word in ("--config", "=".join(pair))]
            convert = [sys.executable, "-m", "convcore", *map(str, words)]
            subprocess.run(convert, check=True, stdout=subprocess.DEVNULL)
            for graph in sorted(file.stem for file in folder.glob("*.onnx")):
                for backend in ("torch", "onnxruntime"):
                    say(f"{path.name} · {graph} · {backend}")
                    job = map(str, (HERE / "clocks.py", folder, graph, backend, threads, rounds))
                    done = subprocess.run([sys.executable, *job], check=True, capture_output=True)
                    yield Clocked(path.name, graph, backend, **json.loads(done.stdout))


def clock_table(found: Iterable[Clocked]) -> str:
    """The comparison as a table, with how many of it agree."""
    rows, apart = list[list[str | float]](), list[float]()
    for one in found:
        apart.append(abs(math.log(one.ours / one.theirs)))
        difference = f"{one.ours / one.theirs - 1:+.1%}"
        times = figure(one.ours), figure(one.theirs)
        rows.append([one.source, one.graph, one.backend, *times, difference])
    within = sum(value <= math.log(1 + TOLERANCE) for value in apart)
    headings = ("input", "graph", "backend", "our p50 ms", "their median ms", "difference")
    worst = text(figure((math.exp(max(apart, default=0.0)) - 1) * 100))
    told = f"{within} of {len(rows)} within {TOLERANCE:.0%}; the widest apart differ by {worst} %."
    return f"{markdown(Table('', headings, rows))}\n\n{told}"


def put_into_readme(name: str, content: str) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- end of NAME -->``."""
    before = README.read_text("utf-8")
    head, begin, rest = before.partition(f"<!-- {name} -->\n")
    _, end, tail = rest.partition(f"<!-- end of {name} -->")
    if not begin or not end:
        raise click.ClickException(f"{README} has no place for {name}")
    README.write_text(f"{head}{begin}\n{content.strip()}\n\n{end}{tail}", "utf-8")


def say(sentence: str) -> None:
    """Tell on stderr what is going on."""
    click.echo(sentence, err=True)


if __name__ == "__main__":
    main()
