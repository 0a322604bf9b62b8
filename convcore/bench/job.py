"""What a worker is told and what it answers."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from convcore.bench.record import Parity, Run
from convcore.bench.sampling import Method
from convcore.options import Backend


@attrs.frozen
class Case:
    """One size to time a graph at.

    Attributes:
        sizes: Size of every dynamic axis.
        arrays: ``.npz`` file of the inputs (``in:NAME``) and torch eager's outputs (``out:NAME``).
    """

    sizes: Mapping[str, int]
    arrays: str


@attrs.frozen
class Job:
    """One contender for one process: everything it is to time, smallest size first.

    Attributes:
        folder: Output folder whose weights the torch backends load.
        graph: Name of the graph.
        onnx: Its ONNX file; None where the backend needs none.
        scratch: Folder for whatever the backend writes, empty and to be thrown away.
        layout_file: A layout declared in a file, or None.
        disabled: Plugins switched off.
        atol: Absolute parity tolerance, None for the engine's own.
    """

    folder: str
    graph: str
    backend: Backend
    device: str
    threads: int
    cases: tuple[Case, ...]
    method: Method
    scratch: str
    onnx: str | None = None
    layout_file: str | None = None
    disabled: tuple[str, ...] = ()
    atol: float | None = None


@attrs.frozen
class Answer:
    """What came of one case, or, without sizes, why the whole job failed.

    Attributes:
        sizes: The case, or None.
        reason: Why it failed, or None.
        run: What was measured.
        parity: Comparison with torch eager.
        providers: Execution provider to number of nodes it ran.
    """

    sizes: Mapping[str, int] | None
    reason: str | None = None
    run: Run | None = None
    parity: Parity | None = None
    providers: Mapping[str, int] = attrs.field(factory=dict)
