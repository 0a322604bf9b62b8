"""Reading a written file back and holding it against what was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convcore import Axis, TargetError
from convcore_onnx.planning import Job
from convcore_onnx.surgery import IR_VERSION

if TYPE_CHECKING:
    import onnx

_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
# As in onnx.proto: TensorProto.DataType.
_DTYPES = {"float32": "FLOAT", "int64": "INT64"}


def inspect_written(path: Path, job: Job) -> None:
    """Check names, axes, dtypes, opset, IR version and determinism of a written file.

    Raises:
        TargetError: Something differs from what was asked for; everything that does is named.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    faults = [
        *_values("input", model.graph.input, job.graph.inputs),
        *_values("output", model.graph.output, job.graph.outputs),
    ]
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("") != job.opset:
        faults.append(f"opset is {opsets.get('')}, asked for was {job.opset}")
    if model.ir_version > IR_VERSION:
        faults.append(f"IR version is {model.ir_version}, at most {IR_VERSION} was asked for")
    if model.functions or set(opsets) - {""}:
        faults.append(f"operators of other domains: {', '.join(sorted(set(opsets) - {''}))}")
    drawn = sorted({node.op_type for node in _nodes(model.graph)} & _RANDOM)
    if drawn:
        faults.append(f"random nodes: {', '.join(drawn)}")
    if not faults:
        try:
            onnx.checker.check_model(str(path))
        except onnx.checker.ValidationError as error:
            faults.append(f"onnx finds it invalid: {str(error).splitlines()[0][:300]}")
    if faults:
        raise TargetError(
            f"{path.name} is not what was asked for: {faults[0]}",
            seen=faults,
            remedy="write the weights with --to pth, or try another --opset",
        )


def _values(
    kind: str, found: Sequence[onnx.ValueInfoProto], wanted: Sequence[Axis]
) -> Iterator[str]:
    import onnx

    names, asked = [value.name for value in found], [axis.name for axis in wanted]
    if names != asked:
        yield f"{kind}s are {names}, asked for were {asked}"
        return
    for value, axis in zip(found, wanted, strict=True):
        tensor = value.type.tensor_type
        dtype = onnx.TensorProto.DataType.Name(tensor.elem_type)
        if dtype != _DTYPES[axis.dtype]:
            yield f"{kind} {axis.name} is {dtype}, asked for was {axis.dtype}"
        shape = [dim.dim_value or dim.dim_param for dim in tensor.shape.dim]
        if shape != list(axis.shape):
            yield f"{kind} {axis.name} has shape {shape}, asked for was {list(axis.shape)}"


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
