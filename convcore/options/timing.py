"""Options of ``bench``."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import attrs

from convcore.options.field import argument, option
from convcore.options.shared import Recognising
from convcore.options.values import Backend, as_path


@attrs.frozen(eq=False, repr=False, kw_only=True, init=False)
class Timing(Recognising):
    """What of a model is timed, and how."""

    devices: tuple[str, ...] = option(
        ("auto",),
        "Where to time. auto is the CPU and all of CUDA. Repeats.",
        "--device", metavar="auto|cpu|cuda[:i]", repeats=True, leads=True,
    )  # fmt: skip
    backends: tuple[Backend, ...] = option(
        (), "Contender; all of them by default. Repeats.",
        "--backend", choices=get_args(Backend), repeats=True, leads=True,
    )  # fmt: skip
    batches: tuple[int, ...] = option(
        (1, 8, 32), "Repeats.", "--batch-size", kind=int, least=1, repeats=True, leads=True
    )
    sizes: tuple[str, ...] = option(
        (), "Size of another dynamic axis, 32 by default. Repeats; every combination is timed.",
        "--size", metavar="AXIS=N", repeats=True, leads=True,
    )  # fmt: skip
    threads: tuple[int, ...] = option(
        (1,), "Repeats; --threads 1 --threads CORES stand side by side.",
        kind=int, least=1, repeats=True, leads=True,
    )  # fmt: skip
    components: tuple[str, ...] = option(
        (), "Time this graph.", "--component", metavar="NAME", repeats=True, leads=True
    )
    rounds: int = option(
        2, "Processes per contender; more show the noise between processes.", kind=int, least=1
    )
    min_iterations: int | None = option(None, "Calls to time at least (30).", kind=int, least=1)
    min_time: float | None = option(None, "Seconds to time at least (0.5).", kind=float, above=0)
    max_time: float | None = option(
        None, "Seconds after which timing stops (5).", kind=float, above=0
    )
    warmup_time: float | None = option(None, "Seconds of warm-up at most (3).", kind=float, above=0)
    precision: float | None = option(
        None, "Half width of the median's 95 % confidence interval to reach (1).",
        metavar="PERCENT", kind=float, above=0,
    )  # fmt: skip
    seed: int = option(0, "Of the inputs.", kind=int)
    atol: float | None = option(None, "Absolute parity tolerance.", kind=float)
    save: Path | None = option(None, "Write as rows are finished.", metavar="FILE.json", kind=Path)
    plot: Path | None = option(None, ".png, .svg or .html", metavar="FILE", kind=Path)
    markdown: bool = option(False, "Print markdown tables.")


@attrs.frozen(eq=False, repr=False)
class BenchOptions(Timing):
    """What ``bench`` takes."""

    path: Path = attrs.field(
        converter=as_path,
        metadata=argument("An output of convcore, or what convert takes.", "DIR|CHECKPOINT"),
    )
