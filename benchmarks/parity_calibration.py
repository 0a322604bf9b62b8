"""How far right graphs are from the float64 result, against how far torch in float32 is itself.

    python benchmarks/parity_calibration.py [--config NAME=VALUE] CHECKPOINT...

Each checkpoint is converted into a temporary folder, and every run of every graph is computed in
float64. The ratio of a channel is its error to that of torch in float32, or to what is taken for
it where few values were seen (``convcore.verification.channels``); a graph passes up to ``FACTOR``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import click

from convcore import onnx_runtime
from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.host.registry import load_registry
from convcore.layouts.graph import Graph
from convcore.layouts.layout import LayoutMatch
from convcore.targets.networks import build, run, run_exactly, widened
from convcore.verification.channels import FACTOR, SNR_DB, furthest
from convcore.verification.trials import Effort, first_trial, further_trials, inputs_of


@attrs.frozen
class Calibrated:
    """One graph: its verdict, and its largest ratio with the place of it (None: no float64)."""

    graph: str
    verdict: str
    ratio: float | None
    place: str


def ratio(graph: Graph, match: LayoutMatch, path: Path) -> tuple[float | None, str]:
    """Return the largest ratio over all outputs, all runs being computed in float64."""
    module = build(graph, match)
    wide, effort, first = widened(module), Effort(), first_trial(graph)
    with effort.watching(module):
        run(module, graph, inputs_of(first, module, graph))
    session = onnx_runtime.session(path, spinning=False)
    names = [output.name for output in session.get_outputs()]
    runs = []
    for trial in (first, *further_trials(graph, effort)):
        inputs = inputs_of(trial, module, graph)
        exact = run_exactly(module, wide, graph, inputs)
        if exact is None:
            return None, f"no float64: held to {SNR_DB:g} dB"
        found = dict(zip(names, session.run(None, inputs), strict=True))
        runs.append((trial, run(module, graph, inputs), found, exact))
    worst = (0.0, "no floating point output")
    for name in (one for one, value in runs[0][1].items() if value.dtype.kind == "f"):
        reference, found, exact = ([one[place][name] for one in runs] for place in (1, 2, 3))
        one = furthest(reference, found, exact)
        if one is not None and FACTOR * one.share > worst[0]:
            worst = FACTOR * one.share, f"{name}, {one.place} ({runs[one.run][0]})"
    return worst


def calibrated(checkpoint: Path, config: dict[str, str]) -> Iterator[Calibrated]:
    """Convert a checkpoint and yield its graphs, those for training included."""
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            checkpoint, Path(folder) / "out", ("onnx",), all_components=True, config=config
        )
        report = convert(request, load_registry())
        match = report.plan.match
        checks = {one.file: one for one in report.checks}
        for graph in match.graphs():
            path = Path(folder) / "out" / f"{graph.name}.onnx"
            if not path.exists():
                continue
            figures = checks[path.name].figures
            verdict = "proved" if figures["proved"] else "; ".join(figures["unproved"])
            yield Calibrated(graph.name, verdict, *ratio(graph, match, path))


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--config", multiple=True, metavar="NAME=VALUE", help="A setting of the layout.")
def main(paths: tuple[Path, ...], config: tuple[str, ...]) -> None:
    """Print the largest ratio of every graph, a line each, and the largest of all."""
    settings = dict(one.partition("=")[::2] for one in config)
    largest = 0.0
    for path in paths:
        for one in calibrated(path, settings):
            told = "-" if one.ratio is None else f"{one.ratio:.2f}"
            largest = max(largest, one.ratio or 0.0)
            click.echo(f"{path.name}\t{one.graph}\t{told}\t{one.verdict}\t{one.place}")
    click.echo(f"largest {largest:.2f}, allowed {FACTOR}")


if __name__ == "__main__":
    main()
