"""A benchmark as a picture: latency by batch size, one panel per graph, percentiles as bands."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.bench.machine import described
from convcore.bench.record import Benchmark, Row, graphs_of
from convcore.errors import TargetError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CONFIGURATION = "MPLCONFIGDIR"
_HEAD_INCHES, _FOOT_INCHES = 0.78, 0.5

FORMATS = (".png", ".svg", ".html")

_STYLE: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": "#9aa0a6",
    "axes.labelcolor": "#3c4043",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlecolor": "#202124",
    "grid.color": "#e8eaed",
    "legend.frameon": False,
    "svg.fonttype": "path",  # looks the same wherever it is opened
    "svg.hashsalt": "convcore",  # the same benchmark gives the same file
    "text.color": "#202124",
    "xtick.color": "#5f6368",
    "ytick.color": "#5f6368",
}


def check_plot(path: Path) -> None:
    """Refuse, before anything is timed, a picture that could not be made afterwards.

    Raises:
        UsageError: The ending is unknown, or the folder is not there.
        TargetError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"--plot {path} has no ending of a picture",
            remedy=f"end its name in {', '.join(FORMATS)}",
        )
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist", remedy="make it first")
    if not _installed("matplotlib"):
        raise TargetError(
            "--plot needs matplotlib, which is not installed",
            remedy="pip install 'convcore[bench]'",
        )


def _installed(package: str) -> bool:
    """Whether it is there; it is not imported, since matplotlib makes folders as it is."""
    if package in sys.modules:
        return sys.modules[package] is not None
    return find_spec(package) is not None


def write_plot(benchmark: Benchmark, path: Path) -> None:
    """Write the picture to ``path``, in the format that its ending names.

    Raises:
        UsageError: It cannot be written there.
        TargetError: matplotlib is not installed.
    """
    check_plot(path)
    suffix = path.suffix.lower()
    if suffix == ".html":
        from convcore.bench.page import as_page

        data = as_page(benchmark, draw(benchmark, "svg").decode("utf-8")).encode("utf-8")
    else:
        data = draw(benchmark, suffix[1:])
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, delete=False) as draft:
            draft.write(data)
        os.chmod(draft.name, 0o644)  # noqa: PTH101  # the temporary file is ours alone until here
        Path(draft.name).replace(path)
    except OSError as error:
        raise UsageError(
            f"the picture cannot be written to {path}: {error.strerror}",
            remedy="name a file in a folder that may be written",
        ) from error


def draw(benchmark: Benchmark, kind: str) -> bytes:
    """Draw the benchmark as ``png`` or ``svg``."""
    with _private_configuration():
        return _drawn(benchmark, kind)


@contextlib.contextmanager
def _private_configuration() -> Iterator[None]:
    """Give matplotlib, which lists the fonts of the system in a cache, a folder that goes again."""
    before = os.environ.get(_CONFIGURATION)
    with tempfile.TemporaryDirectory(prefix="convcore-plot-") as folder:
        os.environ[_CONFIGURATION] = folder
        try:
            yield
        finally:
            os.environ.pop(_CONFIGURATION)
            if before is not None:
                os.environ[_CONFIGURATION] = before


def _drawn(benchmark: Benchmark, kind: str) -> bytes:
    import matplotlib as mpl

    with mpl.rc_context(dict(_STYLE)):
        figure = _figure(benchmark)
        data = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(data, format=kind, dpi=160, metadata=metadata, facecolor="white")
    return data.getvalue()


def _figure(benchmark: Benchmark) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from convcore.bench.panels import draw_panel, legend_of, panel_height

    graphs: Mapping[str, Sequence[Row]] = graphs_of(benchmark.rows) or {"nothing was timed": []}
    columns = 1 if len(graphs) == 1 else 2 if len(graphs) <= 4 else 3
    lines = -(-len(graphs) // columns)
    height = max(panel_height(rows) for rows in graphs.values())
    size = max(6.8, 4.9 * columns), _HEAD_INCHES + _FOOT_INCHES + height * lines
    foot, head = _FOOT_INCHES / size[1], _HEAD_INCHES / size[1]
    layout = ConstrainedLayoutEngine(
        rect=(0.005, foot, 0.985, 1 - head - foot), w_pad=0.12, h_pad=0.12
    )
    figure = Figure(figsize=size, layout=layout)
    axes = figure.subplots(lines, columns, squeeze=False)
    for place in range(lines * columns):
        axes.flat[place].set_visible(place < len(graphs))
    for ax, (name, rows) in zip(axes.flat, graphs.items(), strict=False):
        draw_panel(ax, name, rows)
    _words(figure, benchmark, legend_of(benchmark.rows))
    return figure


def _words(figure: Figure, benchmark: Benchmark, handles: Sequence[Any]) -> None:
    """Title and legend above the panels, and below them what one has to know to believe them."""
    height = figure.get_figheight()
    subject = benchmark.subject
    unfinished = "" if benchmark.complete else " (interrupted)"
    title = f"Inference latency of {subject.get('name')} ({subject.get('layout')}){unfinished}"
    figure.text(0.012, 1 - 0.14 / height, title, va="top", fontsize=13, fontweight="bold")
    if handles:
        place = (0.004, 1 - 0.38 / height)
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place, ncols=5)
    versions = [
        f"{name} {benchmark.versions[name]}"
        for name in ("torch", "onnxruntime")
        if name in benchmark.versions
    ]
    doubtful = sum(bool(row.doubts or row.warnings) for row in benchmark.rows)
    warning = f" · {doubtful} of {len(benchmark.rows)} measurements are unsure or carry a warning"
    lines = (
        " · ".join([described(benchmark.machine), *versions]),
        "marker: median · band: 5th to 95th percentile of all calls · lower is better"
        + (warning if doubtful else ""),
    )
    figure.text(0.012, 0.1 / height, "\n".join(lines), fontsize=8, color="#5f6368", linespacing=1.4)
