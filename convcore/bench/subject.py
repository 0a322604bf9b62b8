"""A graph made ready for its contenders: files, sizes, seeded inputs, torch eager's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from convcore.bench.job import Case
from convcore.bench.sweep import sweep
from convcore.errors import ConvcoreError, UsageError
from convcore.names import nearest
from convcore.samples import draw, dynamic_axes

if TYPE_CHECKING:
    from convcore.bench.job import Job
    from convcore.bench.prepare import Request
    from convcore.host import Registry
    from convcore.model import Graph, LayoutMatch

_WEIGHTS = ("pth", "safetensors")
_ONNX = "onnx"


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
        reason: Why torch eager itself cannot compute it; nobody is timed then.
    """

    graph: str
    cases: tuple[Case, ...] = ()
    weight_bytes: int | None = None
    onnx: str | None = None
    onnx_bytes: int | None = None
    onnx_reason: str | None = None
    reason: str | None = None


def registry_for(work: Job | Request) -> Registry:
    """The plugins, and the layout file, that a job or request was given."""
    from convcore.host import load_registry

    if work.layout_file is None:
        return load_registry(work.disabled)
    from convcore.layout_file import read_layout

    return load_registry(work.disabled, [read_layout(Path(work.layout_file))])


def open_graph(job: Job) -> tuple[LayoutMatch, Graph]:
    """In a worker: the match of the job's folder and the graph to time."""
    from convcore.reopen import reopen

    match = reopen(Path(job.folder), registry_for(job))
    return match, next(graph for graph in match.layout.graphs(match) if graph.name == job.graph)


def wanted_graphs(match: LayoutMatch, names: Sequence[str]) -> list[Graph]:
    """Return the graphs called so, else those of that one component; without names, for inference.

    Raises:
        UsageError: A name is unknown, or the layout names no network at all.
    """
    graphs = list(match.layout.graphs(match))
    known = {graph.name for graph in graphs} | {
        graph.components[0] for graph in graphs if len(graph.components) == 1
    }
    unknown = [name for name in names if name not in known]
    if unknown or not graphs:
        what = f"no graph is called {unknown[0]!r}" if unknown else "there is no network to time"
        raise UsageError(
            f"{what} in this {match.layout.name} checkpoint",
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


def make_subject(
    match: LayoutMatch,
    graph: Graph,
    folder: Path,
    described: Mapping[str, Any],
    request: Request,
    registry: Registry,
) -> Subject:
    """Make the graph's cases and find or make its files.

    Args:
        match: Where the weights come from.
        graph: What to time.
        folder: Output folder that ``match`` was rebuilt from.
        described: Its manifest.
        request: What to make.
        registry: Where the ONNX target is.
    """
    scratch = Path(request.scratch, "subjects", graph.name)
    scratch.mkdir(parents=True)
    if graph.refusal is not None:
        return Subject(graph.name, reason=graph.refusal)
    try:
        cases = _cases(match, graph, scratch, request)
    except (ConvcoreError, RuntimeError, ValueError, ImportError) as error:
        return Subject(graph.name, reason=f"torch eager cannot compute it: {error}")
    subject = Subject(graph.name, cases, _weight_bytes(graph, described))
    if "onnxruntime" not in request.backends:
        return subject
    try:
        onnx = _onnx(match, graph, folder, described, scratch, registry)
    except ConvcoreError as error:
        return attrs.evolve(subject, onnx_reason=f"no ONNX file: {error}")
    data = onnx.with_name(f"{onnx.name}_data")
    nbytes = sum(path.stat().st_size for path in (onnx, data) if path.is_file())
    return attrs.evolve(subject, onnx=str(onnx), onnx_bytes=nbytes)


def _cases(match: LayoutMatch, graph: Graph, scratch: Path, request: Request) -> tuple[Case, ...]:
    import numpy as np

    from convcore.network import build, run

    module = build(graph, match)
    cases: list[Case] = []
    for sizes in sweep(dynamic_axes(graph), request.sizes, request.other):
        inputs = draw(graph, sizes, request.seed)
        outputs = run(module, graph, inputs)
        path = scratch / f"{len(cases)}.npz"
        arrays = {f"in:{name}": array for name, array in inputs.items()}
        arrays |= {f"out:{name}": array for name, array in outputs.items()}
        np.savez(path, allow_pickle=False, **arrays)
        cases.append(Case(sizes, str(path)))
    return tuple(cases)


def _weight_bytes(graph: Graph, described: Mapping[str, Any]) -> int | None:
    for target in _WEIGHTS:
        sizes: dict[str, int] = {}
        for file in described["files"]:
            if file["target"] == target and file["component"] in graph.components:
                sizes[file["component"]] = sizes.get(file["component"], 0) + file["bytes"]
        if set(sizes) == set(graph.components):
            return sum(sizes.values())
    return None


def _onnx(
    match: LayoutMatch,
    graph: Graph,
    folder: Path,
    described: Mapping[str, Any],
    scratch: Path,
    registry: Registry,
) -> Path:
    """The graph's ONNX file: the one that lies there, or one exported into ``scratch``.

    Raises:
        ConvcoreError: It cannot be exported.
    """
    for file in described["files"]:
        if file["target"] == _ONNX and file["path"] == f"{graph.name}.onnx":
            return folder / str(file["path"])
    from convcore.target import Choice, Workspace

    target = registry.find("targets", _ONNX)
    choice = Choice(graph.components, explicit=True, all_components=True, verify="none")
    outputs = [output for output in target.plan(match, choice) if output.component == graph.name]
    list(target.write(outputs, Workspace(scratch, match, choice)))
    return scratch / f"{graph.name}.onnx"
