"""Changes to a traced graph: normalisation around it, folding, and what its metadata may say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import convcore
from convcore import Affine, Graph, LayoutMatch

if TYPE_CHECKING:
    import onnx_ir as ir

# Every runtime in use reads this version of the file format; newer ones are refused by some.
IR_VERSION = 10
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
_NEAR = 1e-4


def normalise(model: ir.Model, affine: Affine) -> None:
    """Put ``(x - mean_in) / std_in`` before the graph and ``y * std_out + mean_out`` after it."""
    import onnx_ir as ir

    graph = model.graph
    (x,), (y,) = graph.inputs, graph.outputs
    users = tuple(x.uses())
    constants = {
        name: _constant(graph, name, getattr(affine, name))
        for name in ("mean_in", "std_in", "mean_out", "std_out")
    }
    name = y.name
    y.name = f"{name}_normalised"
    centred = ir.node("Sub", [x, constants["mean_in"]], name="node_centre")
    scaled = ir.node("Div", [centred.outputs[0], constants["std_in"]], name="node_scale")
    for user, place in users:
        user.replace_input_with(place, scaled.outputs[0])
    graph.insert_before(graph[0], [centred, scaled])
    spread = ir.node("Mul", [y, constants["std_out"]], name="node_spread")
    moved = ir.node("Add", [spread.outputs[0], constants["mean_out"]], name="node_move")
    graph.extend([spread, moved])
    for node, label in ((centred, "centred"), (scaled, "scaled"), (spread, "spread")):
        node.outputs[0].name = f"{x.name}_{label}" if node is not spread else f"{name}_{label}"
    final = moved.outputs[0]
    final.name, final.shape, final.type = name, y.shape, y.type
    graph.outputs[0] = final


def optimise(model: ir.Model) -> None:
    """Fold what eval mode makes constant: batch norm into its linear layer, shapes, identities."""
    from onnxscript import optimizer

    keep_small_terms(model)
    optimizer.optimize(model)


def keep_small_terms(model: ir.Model) -> None:
    """Give scalars that are nearly 0 or 1 an axis, so that no rewriting takes them for 0 or 1.

    The optimiser drops ``x + c`` and ``x * c`` for scalars within 1e-8 of 0 or 1e-5 of 1. An
    epsilon of 1e-10 is there for the inputs on which it counts; a variance of 1e-9 is one of them.
    """
    import onnx_ir as ir

    for node in model.graph.all_nodes():
        if node.op_type not in _ARITHMETIC or len(node.inputs) != 2:
            continue
        for place, value in enumerate(node.inputs):
            constant = None if value is None else ir.convenience.get_const_tensor(value)
            other = node.inputs[1 - place]
            if value is None or constant is None or len(constant.shape):
                continue
            if other is None or not other.shape:  # the result would gain an axis
                continue
            number = constant.numpy()
            if number.dtype.kind == "f" and _nearly(float(number), 0.0, 1.0):
                name = f"{node.name or node.outputs[0].name}_term{place}"
                kept = ir.tensor(number.reshape(1), name=name)
                spread = ir.Value(name=name, shape=ir.Shape([1]), type=value.type, const_value=kept)
                model.graph.register_initializer(spread)
                node.replace_input_with(place, spread)


def _nearly(number: float, *marks: float) -> bool:
    return any(number != mark and abs(number - mark) < _NEAR for mark in marks)


def label(model: ir.Model, graph: Graph, match: LayoutMatch) -> None:
    """Replace everything torch says of itself and its source files by who made what.

    Metadata of torch holds paths of the machine and the text of source lines.
    """
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.doc_string = model.graph.doc_string = None
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            _forget(value)
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        _forget(value)
    model.graph.name = graph.name
    model.producer_name, model.producer_version = "convcore", convcore.__version__
    model.ir_version = IR_VERSION
    model.metadata_props.update(
        {
            "convcore.components": ",".join(graph.components),
            "convcore.graph": graph.name,
            "convcore.layout": match.layout.name,
            "convcore.version": convcore.__version__,
        }
    )


def name_axes(model: ir.Model, graph: Graph) -> None:
    """Give dynamic axes of the outputs the names they were declared with."""
    import onnx_ir as ir

    for value, axis in zip(model.graph.outputs, graph.outputs, strict=True):
        if value.shape is None or len(value.shape) != len(axis.shape):
            continue  # the check of the written file says so
        value.shape = ir.Shape(
            [
                found if isinstance(found, int) and isinstance(wanted, str) else wanted
                for found, wanted in zip(value.shape, axis.shape, strict=True)
            ]
        )


def _constant(graph: ir.Graph, name: str, numbers: tuple[float, ...]) -> ir.Value:
    import numpy as np
    import onnx_ir as ir

    tensor = ir.tensor(np.asarray(numbers, np.float32), name=f"normalisation.{name}")
    shape, kind = ir.Shape([len(numbers)]), ir.TensorType(ir.DataType.FLOAT)
    value = ir.Value(name=tensor.name, shape=shape, type=kind, const_value=tensor)
    graph.register_initializer(value)
    return value


def _forget(value: ir.Value) -> None:
    value.metadata_props.clear()
    value.doc_string = None
    if value.const_value is not None and value.const_value.metadata_props:
        value.const_value.metadata_props.clear()
