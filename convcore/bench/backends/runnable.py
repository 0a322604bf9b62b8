"""The ONNX files that onnxruntime is given: what one declares, and one made for the purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from convcore.layouts.graph import Axis, Graph, Shape
from convcore.onnx_runtime import FORMAT
from convcore.targets.target import Choice, Target, Workspace

if TYPE_CHECKING:
    import onnx

    from convcore.host.registry import Registry
    from convcore.layouts.layout import LayoutMatch


def declared(path: Path, network: Callable[[], NoReturn]) -> Graph:
    """A graph as its ONNX file declares it; which numbers are legal it does not say."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    inputs = tuple(_axis(value) for value in model.graph.input)
    outputs = tuple(_axis(value) for value in model.graph.output)
    return Graph(path.stem, path.stem, inputs, outputs, network)


def _axis(value: onnx.ValueInfoProto) -> Axis:
    import onnx

    tensor = value.type.tensor_type
    shape: Shape = tuple(size.dim_param or size.dim_value for size in tensor.shape.dim)
    return Axis(value.name, shape, str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))


def exported(graph: Graph, match: LayoutMatch, registry: Registry, folder: Path) -> list[Path]:
    """Export a graph into a folder; return its files, as far as they were needed.

    Raises:
        ConvcoreError: It cannot be exported.
    """
    target: Target = registry.find("targets", FORMAT)
    options = target.settled({}, {"all_components": True})
    choice = Choice(graph.components, explicit=True, verify="none", options=options)
    planned = [each for each in target.plans(match, choice) if each.of == graph.name]
    list(target.write(planned, Workspace(folder, match, choice)))
    return [folder / path for path in planned[0].paths]
