"""A graph made ready for its contenders: files, sizes, seeded inputs, torch eager's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from convcore.bench.job import Case
from convcore.bench.origin import NO_WEIGHTS, Origin
from convcore.bench.sweep import sweep
from convcore.errors import ConvcoreError, LayoutError, UsageError
from convcore.layouts.example_inputs import draw, dynamic_axes
from convcore.names import nearest

if TYPE_CHECKING:
    from convcore.bench.request import Request
    from convcore.layouts.graph import Graph


@attrs.frozen
class Subject:
    """One graph, ready to be timed.

    Attributes:
        graph: Its name.
        cases: Sizes with their arrays, smallest first.
        weight_bytes: Bytes of the weight files it needs; None where they do not all lie there.
        onnx: Its ONNX file, or None.
        onnx_bytes: Bytes of that file and of its external data.
        onnx_reason: Why there is no ONNX file.
        torch_reason: Why torch is not asked to compute it.
        reason: Why torch eager cannot compute it although it should; nobody is timed then.
    """

    graph: str
    cases: tuple[Case, ...] = ()
    weight_bytes: int | None = None
    onnx: str | None = None
    onnx_bytes: int | None = None
    onnx_reason: str | None = None
    torch_reason: str | None = None
    reason: str | None = None


def wanted_graphs(origin: Origin, names: Sequence[str]) -> list[Graph]:
    """Return the graphs called so, else those of that one component; without names, for inference.

    Raises:
        UsageError: A name is unknown, or the layout names no network at all.
        LayoutError: No layout is known.
    """
    graphs = origin.graphs()
    if origin.described.layout is None:
        raise LayoutError(
            "no known layout explains the weights, so there is no network to time",
            remedy="describe one with --layout-file; plugins/README.md shows a whole one",
        )
    known = {graph.name for graph in graphs} | {
        graph.components[0] for graph in graphs if len(graph.components) == 1
    }
    unknown = [name for name in names if name not in known]
    if unknown or not graphs:
        what = f"no graph is called {unknown[0]!r}" if unknown else "there is no network to time"
        raise UsageError(
            f"{what} in this {origin.described.layout} checkpoint",
            seen=(
                f"graphs: {', '.join(sorted(known)) or 'none'}",
                *nearest((unknown or [""])[0], known),
            ),
            remedy="time one of the graphs named, or a checkpoint whose layout names a network",
        )
    if not names:
        return [graph for graph in graphs if graph.role == "inference"]
    own = {graph.name for graph in graphs}
    alone = [name for name in names if name not in own]
    return [
        graph
        for graph in graphs
        if graph.name in names or (len(graph.components) == 1 and graph.components[0] in alone)
    ]


def make_subject(origin: Origin, graph: Graph, request: Request) -> Subject:
    """Make the graph's cases and find or make its files, in the request's scratch folder."""
    scratch = Path(request.scratch, "subjects", graph.name)
    scratch.mkdir(parents=True)
    if graph.refusal is not None:
        options = " ".join(f"--config {name}=…" for name in graph.missing)
        refusal = f"{graph.refusal}{options and f'; give {options}'}"
        return Subject(graph.name, torch_reason=refusal, onnx_reason=refusal)
    try:
        cases = _cases(origin, graph, scratch, request)
    except (ConvcoreError, RuntimeError, ValueError, ImportError) as error:
        return Subject(graph.name, reason=f"torch eager cannot compute it: {error}")
    subject = Subject(
        graph.name,
        cases,
        origin.weight_bytes(graph),
        torch_reason=NO_WEIGHTS if origin.match is None else None,
    )
    if "onnxruntime" not in request.backends:
        return subject
    try:
        first, *others = origin.runnable(graph, scratch)
    except ConvcoreError as error:
        return attrs.evolve(subject, onnx_reason=f"no ONNX file: {error}")
    nbytes = sum(path.stat().st_size for path in (first, *others) if path.is_file())
    return attrs.evolve(subject, onnx=str(first), onnx_bytes=nbytes)


def _cases(origin: Origin, graph: Graph, scratch: Path, request: Request) -> tuple[Case, ...]:
    import numpy as np

    from convcore.targets.networks import build, run

    module = None if origin.match is None else build(graph, origin.match)
    cases: list[Case] = []
    for sizes in sweep(dynamic_axes(graph), request.sizes, request.other):
        inputs = draw(graph, sizes, request.seed)
        outputs = {} if module is None else run(module, graph, inputs)
        path = scratch / f"{len(cases)}.npz"
        arrays = {f"in:{name}": array for name, array in inputs.items()}
        arrays |= {f"out:{name}": array for name, array in outputs.items()}
        np.savez(path, allow_pickle=False, **arrays)
        cases.append(Case(sizes, str(path)))
    return tuple(cases)
