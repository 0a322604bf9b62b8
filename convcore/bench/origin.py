"""The output folder that is timed: its weights as a match, or, without weights, its ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from convcore.layouts.graph import Axis, Graph, Shape
from convcore.layouts.layout import LayoutMatch
from convcore.manifest import document as manifest
from convcore.targets.target import Choice, Workspace

if TYPE_CHECKING:
    import onnx

    from convcore.bench.job import Job
    from convcore.bench.request import Request
    from convcore.host.registry import Registry

NO_WEIGHTS = "there are no weight files (.pth or .safetensors) here to build the network from"
_WEIGHTS = ("pth", "safetensors")
_ONNX = "onnx"


@attrs.frozen
class Origin:
    """Where graphs and their files come from.

    Attributes:
        folder: The output folder.
        described: Its manifest.
        registry: Where layout and ONNX target are.
        match: What its weight files hold; None where there are none.
    """

    folder: Path
    described: Mapping[str, Any]
    registry: Registry
    match: LayoutMatch | None

    def graphs(self) -> list[Graph]:
        """Return the layout's graphs; without weights, one for each ONNX file."""
        if self.match is not None:
            return list(self.match.graphs())
        return [_declared(self.folder / path) for path in self._files(_ONNX)]

    def weight_bytes(self, graph: Graph) -> int | None:
        """Bytes of the weight files a graph needs; None where they do not all lie there."""
        for target in _WEIGHTS:
            sizes: dict[str, int] = {}
            for file in self.described["files"]:
                if file["target"] == target and file["component"] in graph.components:
                    sizes[file["component"]] = sizes.get(file["component"], 0) + file["bytes"]
            if set(sizes) == set(graph.components):
                return sum(sizes.values())
        return None

    def onnx_file(self, graph: Graph, scratch: Path) -> Path:
        """Return the ONNX file that lies there, or one exported into ``scratch``.

        Raises:
            ConvcoreError: It cannot be exported.
        """
        name = f"{graph.name}.onnx"
        if self.match is None or name in self._files(_ONNX):
            return self.folder / name
        target = self.registry.find("targets", _ONNX)
        choice = Choice(graph.components, explicit=True, all_components=True, verify="none")
        planned = target.plan(self.match, choice)
        outputs = [output for output in planned if output.component == graph.name]
        list(target.write(outputs, Workspace(scratch, self.match, choice)))
        return scratch / name

    def _files(self, target: str) -> list[str]:
        return [
            file["path"]
            for file in self.described["files"]
            if file["target"] == target and file["path"].endswith(f".{target}")
        ]


def open_origin(folder: Path, registry: Registry) -> Origin:
    """Read an output folder back."""
    from convcore.engine.audit.reopened import reopen

    match = reopen(folder, registry)
    return Origin(folder, manifest.load(folder), registry, match if match.states else None)


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


def _declared(path: Path) -> Graph:
    """A graph as its ONNX file declares it; which numbers are legal it does not say."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    inputs = tuple(_axis(value) for value in model.graph.input)
    outputs = tuple(_axis(value) for value in model.graph.output)
    return Graph(path.stem, path.stem, inputs, outputs, _no_network)


def _axis(value: onnx.ValueInfoProto) -> Axis:
    import onnx

    tensor = value.type.tensor_type
    shape: Shape = tuple(size.dim_param or size.dim_value for size in tensor.shape.dim)
    return Axis(value.name, shape, str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))


def _no_network() -> NoReturn:
    raise ValueError(NO_WEIGHTS)
