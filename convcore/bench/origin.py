"""The output folder that is timed: its weights as a match, or, without weights, its graphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import attrs

from convcore.bench.backends.runnable import declared, exported
from convcore.engine.reopened import artifacts, reopen
from convcore.layouts.graph import Graph
from convcore.layouts.layout import LayoutMatch
from convcore.manifest import document as manifest
from convcore.onnx_runtime import FORMAT
from convcore.targets.target import Artifact, Kind

if TYPE_CHECKING:
    from convcore.bench.job import Job
    from convcore.bench.request import Request
    from convcore.host.registry import Registry
    from convcore.manifest.record import Manifest

NO_WEIGHTS = "there are no weight files here to build the network from"


@attrs.frozen
class Origin:
    """Where graphs and their files come from.

    Attributes:
        folder: The output folder.
        described: Its manifest.
        registry: Where layout and targets are.
        match: What its weight files hold; None where there are none.
    """

    folder: Path
    described: Manifest
    registry: Registry
    match: LayoutMatch | None

    def graphs(self) -> list[Graph]:
        """Return the layout's graphs; without weights, one for each file that onnxruntime runs."""
        if self.match is not None:
            return list(self.match.graphs())
        return [declared(self.folder / each.path, _no_network) for each in self._runnable()]

    def weight_bytes(self, graph: Graph) -> int | None:
        """Bytes of the weight files a graph needs; None where they do not all lie there."""
        sizes: dict[str, dict[str, int]] = {}
        for each in self._made("weights"):
            if each.of in graph.components:
                sizes.setdefault(each.target, {})[each.of] = each.nbytes
        whole = (held for held in sizes.values() if held.keys() == set(graph.components))
        return next((sum(held.values()) for held in whole), None)

    def runnable(self, graph: Graph, scratch: Path) -> list[Path]:
        """Return what lies there for onnxruntime, or is exported into ``scratch``, its file first.

        Raises:
            ConvcoreError: It cannot be exported.
        """
        for each in self._runnable():
            if each.of == graph.name:
                return [self.folder / path for path in each.paths]
        assert self.match is not None  # else each graph came from such a file
        return exported(graph, self.match, self.registry, scratch)

    def _runnable(self) -> list[Artifact]:
        return [each for each in self._made("graph") if each.format == FORMAT]

    def _made(self, kind: Kind) -> list[Artifact]:
        made = artifacts(self.described, self.registry.targets)
        return [each for each in made if each.kind == kind]


def open_origin(folder: Path, registry: Registry) -> Origin:
    """Read an output folder back."""
    described = manifest.load(folder)
    match = reopen(folder, registry, described)
    return Origin(folder, described, registry, match if match.states else None)


def registry_for(work: Job | Request) -> Registry:
    """The plugins, and the layout file, that a job or request was given."""
    from convcore.host.registry import load_registry

    if work.layout_file is None:
        return load_registry(work.disabled)
    from convcore.layouts.layout_file.reading import read_layout

    return load_registry(work.disabled, [read_layout(Path(work.layout_file))])


def open_graph(job: Job) -> tuple[LayoutMatch, Graph]:
    """In a worker: the match of the job's folder and the graph to time."""
    origin = open_origin(Path(job.folder), registry_for(job))
    graph = next(graph for graph in origin.graphs() if graph.name == job.graph)
    if origin.match is None:
        raise ValueError(NO_WEIGHTS)
    return origin.match, graph


def _no_network() -> NoReturn:
    raise ValueError(NO_WEIGHTS)
