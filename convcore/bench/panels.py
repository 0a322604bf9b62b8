"""One panel of the picture: curves over batch sizes, or bars where there is only one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from convcore.bench.columns import device, figure
from convcore.bench.record import Row
from convcore.bench.statistics import FEW, percentile
from convcore.report.view import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by colour-blind readers too; the marker says it again.
_COLOURS = {"torch": "#D55E00", "torch-compile": "#0072B2", "onnxruntime": "#009E73"}
_MARKERS = {"torch": "o", "torch-compile": "s", "onnxruntime": "D"}
_DASHES = ("-", "--", ":", "-.")
_BATCH = "batch"
_CURVE_INCHES = 3.1
_BAR_INCHES = 0.42

Series = tuple[str, str]
"""Backend, and everything else but the batch size: device, threads, other axes."""


def series_of(row: Row) -> Series:
    """To which curve a row belongs."""
    others = [f"{axis} {size}" for axis, size in row.sizes.items() if axis != _BATCH]
    return row.backend, ", ".join([device(row), *others])


def panel_height(rows: Sequence[Row]) -> float:
    """Height in inches that a panel of these rows needs."""
    if _curves(rows):
        return _CURVE_INCHES
    return 0.9 + _BAR_INCHES * max(3, sum(row.summary is not None for row in rows))


def draw_panel(ax: Axes, name: str, rows: Sequence[Row]) -> None:
    """Draw the rows of one graph."""
    timed = [row for row in rows if row.summary is not None]
    ax.set_title(name, loc="left")
    ax.grid(True, which="major", axis="both" if _curves(rows) else "x")
    ax.set_axisbelow(True)
    if not timed:
        ax.text(0.5, 0.5, "nothing could be timed", transform=ax.transAxes, ha="center")
    elif _curves(rows):
        _draw_curves(ax, timed)
    else:
        _draw_bars(ax, timed)
    failed = dict.fromkeys(row.backend for row in rows if row.status == "failed")
    if failed:
        ax.set_title(f"failed: {', '.join(failed)}", loc="right", fontsize=8.5, color="#c5221f",
                     fontweight="normal")  # fmt: skip


def legend_of(rows: Iterable[Row]) -> list[Any]:
    """One entry per backend that was timed."""
    from matplotlib.lines import Line2D

    backends = dict.fromkeys(row.backend for row in rows if row.summary is not None)
    return [
        Line2D([], [], color=_COLOURS[name], marker=_MARKERS[name], markersize=5.5, label=name)
        for name in backends
    ]


def _curves(rows: Iterable[Row]) -> bool:
    return len({row.batch for row in rows}) > 1


def _rest(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(series_of(row)[1] for row in rows))


def _draw_curves(ax: Axes, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    unit, scale = _unit(rows)
    dashes = dict(zip(_rest(rows), cycle(_DASHES), strict=False))
    for series in dict.fromkeys(map(series_of, rows)):
        points = sorted((row for row in rows if series_of(row) == series), key=lambda r: r.batch)
        x = [row.batch for row in points]
        colour = _COLOURS[series[0]]
        low, middle, high = zip(*(_band(row, scale) for row in points), strict=True)
        ax.fill_between(x, low, high, color=colour, alpha=0.16 / len(dashes) ** 0.5, linewidth=0)
        ax.plot(
            x, middle, color=colour, marker=_MARKERS[series[0]], markersize=5,
            markeredgecolor="white", markeredgewidth=0.8, linewidth=1.8,
            linestyle=dashes[series[1]],
        )  # fmt: skip
    batches = sorted({row.batch for row in rows})
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(batches, labels=[str(batch) for batch in batches], minor=False)
    ax.minorticks_off()
    _plain_ticks(ax)
    ax.set_xlabel(_under("batch size", rows))
    ax.set_ylabel(f"latency, {unit}")
    if len(dashes) > 1:
        styles = [Line2D([], [], color="#5f6368", linestyle=dash, label=label)
                  for label, dash in dashes.items()]  # fmt: skip
        ax.legend(handles=styles, fontsize=8, loc="upper left", frameon=True, framealpha=0.8,
                  edgecolor="none")  # fmt: skip


def _draw_bars(ax: Axes, rows: Sequence[Row]) -> None:
    unit, scale = _unit(rows)
    bands = [_band(row, scale) for row in rows]
    # A tail far beyond every median would leave no room to compare the medians.
    end = min(max(high for _, _, high in bands), 2.5 * max(middle for _, middle, _ in bands))
    for place, (row, (low, middle, high)) in enumerate(zip(rows, bands, strict=True)):
        colour, top = _COLOURS[row.backend], min(high, end)
        ax.plot([low, top], [place, place], color=colour, alpha=0.3, linewidth=9,
                solid_capstyle="butt")  # fmt: skip
        ax.plot([middle], [place], color=colour, marker=_MARKERS[row.backend], markersize=7,
                markeredgecolor="white", clip_on=False, zorder=3)  # fmt: skip
        cut = "" if high <= end else " \N{RIGHTWARDS ARROW}"
        label = f"{cut} {text(figure(middle))} {unit}"
        if row.speedup:
            label += f"   {text(figure(row.speedup))}x eager"
        ax.annotate(label, (top, place), xytext=(5, 0), textcoords="offset points", va="center",
                    fontsize=8.5, color="#3c4043", annotation_clip=False)  # fmt: skip
    several = len(_rest(rows)) > 1
    labels = [f"{row.backend}, {series_of(row)[1]}" if several else row.backend for row in rows]
    ax.set_yticks(range(len(rows)), labels=labels)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(0, end * 1.5)  # room for the labels
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel(_under(f"latency at batch {rows[0].batch}, {unit}", rows))


def _unit(rows: Iterable[Row]) -> tuple[str, float]:
    """The unit of a panel, and what a number of milliseconds is in it."""
    longest = max(_band(row, 1.0)[1] for row in rows)
    return ("ms", 1.0) if longest >= 0.2 else ("µs", 1e3)


def _under(label: str, rows: Sequence[Row]) -> str:
    rest = _rest(rows)
    return f"{label}   ({rest[0]})" if len(rest) == 1 else label


def _plain_ticks(ax: Axes) -> None:
    """Label the logarithmic y axis with plain numbers at 1, 2 and 5, not with powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _band(row: Row, scale: float) -> tuple[float, float, float]:
    """5th percentile, median and 95th percentile of all calls; in milliseconds for a scale of 1.

    Of a few calls only the median is shown.
    """
    pooled = sorted(value for run in row.runs for value in run.samples_ns)
    low, middle, high = (
        percentile(pooled, q) / 1e6 * scale
        for q in ((5, 50, 95) if len(pooled) >= FEW else (50,) * 3)
    )
    return low, middle, high
