"""What no output can show: constants and attributes of a file against the exported program.

A bias of zeros left out, or an epsilon that became another, changes no output that could be seen.
So all that the file's nodes are told is looked for in the program that torch exported, before
anything was optimised: each constant has to be one of the program's, or to follow from those by
constant folding (done here by the reference implementation of ``onnx``), or by folding a batch
norm (computed here in float64); none of the program's may be missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import onnx_ir as ir

    from convcore.layouts.graph import Affine

    Array = np.ndarray[Any, Any]

# What an optimiser makes, merges or leaves out without changing a function; their integers (axes,
# shapes, indices) show in the outputs.
_REWRITTEN = frozenset(
    [
        "BatchNormalization",
        "Cast",
        "CastLike",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Dropout",
        "Expand",
        "Flatten",
        "Gather",
        "Gemm",
        "Identity",
        "MatMul",
        "Max",
        "Min",
        "Range",
        "Reshape",
        "SequenceAt",
        "Shape",
        "Size",
        "Slice",
        "Split",
        "SplitToSequence",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)
_LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Normalisation around a graph adds these; see ``Affine``.
_AFFINE = ("Sub", "Div", "Mul", "Add")
_UNITS = 16
# Numbers by which most tensors of one size are told apart.
_GLANCE = 64
_LARGEST_FOLD = 1 << 27


@attrs.frozen(eq=False)
class Known:
    """A constant of the program: its value and the initializers that it was made from."""

    value: Array
    roots: frozenset[str] = frozenset()


@attrs.frozen(eq=False)
class Folded(Known):
    """A constant that arithmetic made, as float64, and how far float32 may be from it."""

    slack: Array | None = None


def disagreements(
    path: Path, program: ir.Model, affine: Affine | None = None
) -> tuple[list[str], list[str]]:
    """Hold a file against the program it was made from.

    Args:
        path: The ONNX file, external data beside it.
        program: As torch exported it, with the weights that the file should have.
        affine: Normalisation that was put around the graph.

    Returns:
        What is wrong, and what could not be explained; a sentence each.
    """
    import onnx

    model = onnx.load(path)
    known = _closure(program)
    folded = list(_batch_norms(program, known))
    wrong, unexplained = [], []
    present: set[str] = set()
    alike: dict[tuple[str, int, bytes], list[Known]] = {}
    for one in known.values():
        alike.setdefault(_kind(one.value), []).append(one)
    normalisation = _normalisation(affine)
    names = set(program.graph.initializers)
    for name, value in _constants(model):
        if value.dtype.kind != "f" or not value.size:
            continue
        equal = [one for one in alike.get(_kind(value), ()) if _same_bits(one.value, value)]
        made = equal or [one for one in folded if _is(one, value)][:1]
        if made:
            present = present.union(*(one.roots for one in made))
        elif name in normalisation and _same_bits(normalisation[name], value):
            continue
        elif name in names:
            wrong.append(f"{name} is not what the network has under this name")
        else:
            unexplained.append(f"the constant {name} follows from nothing that the network has")
    for name in sorted(_used(program) - present):
        value = known[name].value
        if value.dtype.kind == "f" and value.ndim and value.any():  # adding zeros may be left out
            wrong.append(f"{name} of the network is nowhere in the file")
    return wrong + list(_nodes_that_differ(model, program, affine)), unexplained


def _closure(program: ir.Model) -> dict[str, Known]:
    """Every constant of a program by name, folded as far as ``onnx`` computes it."""
    found = {
        name: Known(value.const_value.numpy(), frozenset({name}))
        for name, value in program.graph.initializers.items()
        if value.const_value is not None
    }
    for node in program.graph:
        given = [None if value is None else found.get(value.name or "") for value in node.inputs]
        if node.op_type == "CastLike" and given[0] is not None:
            made: list[Array] | None = [given[0].value.astype(_like(node, given[1]))]
        elif node.op_type == "Shape" and (fixed := _fixed_sizes(node)) is not None:
            made = [fixed]
        elif any(one is None for one, v in zip(given, node.inputs, strict=True) if v is not None):
            continue
        else:
            made = _computed(node, [None if one is None else one.value for one in given])
        roots = frozenset[str]().union(*(one.roots for one in given if one is not None))
        for output, value in zip(node.outputs, made or (), strict=False):
            found[output.name or ""] = Known(value, roots)
    return found


def _fixed_sizes(node: ir.Node) -> Array | None:
    """What ``Shape`` gives where torch knew the sizes; None where one of them is dynamic."""
    import numpy as np

    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    rank = len(value.shape)
    start, end = (node.attributes.get_int("start", 0), node.attributes.get_int("end", rank))
    sizes = list(value.shape)[start:end]
    known = [size for size in sizes if isinstance(size, int)]
    return np.array(known, np.int64) if len(known) == len(sizes) else None


def _like(node: ir.Node, other: Known | None) -> Any:
    """The type that ``CastLike`` casts to; what is not known is float32, as all graphs compute."""
    import numpy as np

    if other is not None:
        return other.value.dtype
    known = node.outputs[0].dtype or (node.inputs[1].dtype if node.inputs[1] is not None else None)
    return np.float32 if known is None else known.numpy()


def _computed(node: ir.Node, inputs: list[Array | None]) -> list[Array] | None:
    """Compute one node as ``onnx`` does; None where it cannot, or where it would be very large."""
    import numpy as np
    import onnx_ir as ir
    from onnx.reference import ReferenceEvaluator

    if sum(0 if one is None else one.size for one in inputs) > _LARGEST_FOLD:
        return None
    names = ["" if value is None else value.name or "" for value in node.inputs]
    try:
        given = {name: one for name, one in zip(names, inputs, strict=True) if one is not None}
        with np.errstate(all="ignore"):  # a constant may well be NaN
            made = ReferenceEvaluator(ir.to_proto(node)).run(None, given)
    except Exception:  # an operator it does not have: then nothing follows from this node
        return None
    arrays = [one for one in made if isinstance(one, np.ndarray | np.generic)]
    return [np.asarray(one) for one in arrays] if len(arrays) == len(made) else None


def _batch_norms(program: ir.Model, known: Mapping[str, Known]) -> Iterator[Folded]:
    """Yield what weights and biases become when a batch norm is folded into the layer before it."""
    import numpy as np

    for node in program.graph:
        if node.op_type != "BatchNormalization" or node.inputs[0] is None:
            continue
        layer = node.inputs[0].producer()
        parts = [known.get(value.name or "") for value in node.inputs[1:] if value is not None]
        if layer is None or layer.op_type not in _LINEAR or None in parts or len(parts) != 4:
            continue
        gamma, beta, mean, variance = (one.value.astype(np.float64) for one in parts if one)
        epsilon = node.attributes.get_float("epsilon", 1e-5)
        factor = gamma / np.sqrt(variance + epsilon)
        given = [None if value is None else known.get(value.name or "") for value in layer.inputs]
        weight = given[1]
        bias = given[2] if len(given) > 2 else None
        roots = frozenset[str]().union(*(one.roots for one in (*parts, weight, bias) if one))
        if weight is not None:
            kernel = weight.value.astype(np.float64)
            for axis in range(min(2, kernel.ndim)):
                if kernel.shape[axis] == len(factor):
                    shape = [len(factor) if place == axis else 1 for place in range(kernel.ndim)]
                    scaled = kernel * factor.reshape(shape)
                    yield Folded(scaled, roots, np.abs(scaled))
        before = np.zeros_like(mean) if bias is None else bias.value.astype(np.float64)
        if before.shape == mean.shape:
            moved = (before - mean) * factor + beta
            size = (np.abs(before) + np.abs(mean)) * np.abs(factor) + np.abs(beta)
            yield Folded(moved, roots, size)


def _is(one: Folded, value: Array) -> bool:
    import numpy as np

    if one.value.size != value.size or one.slack is None:
        return False
    unit = _UNITS * np.finfo(np.float32).eps * one.slack.ravel() + np.finfo(np.float32).tiny
    return bool(np.all(np.abs(value.ravel() - one.value.ravel()) <= unit))


def _kind(value: Array) -> tuple[str, int, bytes]:
    """What equal arrays have in common, at a glance."""
    return value.dtype.str, value.size, value.reshape(-1)[:_GLANCE].tobytes()


def _same_bits(one: Array, other: Array) -> bool:
    """Whether two arrays have the same type and bytes; the shapes of equal numbers may differ."""
    import numpy as np

    if _kind(one) != _kind(other):
        return False
    a, b = (np.ascontiguousarray(value).reshape(-1).view(np.uint8) for value in (one, other))
    return np.array_equal(a, b)


def _constants(model: onnx.ModelProto) -> Iterator[tuple[str, Array]]:
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            yield node.output[0], numpy_helper.to_array(node.attribute[0].t)


def _normalisation(affine: Affine | None) -> dict[str, Array]:
    import numpy as np

    if affine is None:
        return {}
    names = ("mean_in", "std_in", "mean_out", "std_out")
    return {f"normalisation.{n}": np.asarray(getattr(affine, n), np.float32) for n in names}


def _used(program: ir.Model) -> set[str]:
    """Names of the initializers from which an output is computed."""
    used: set[str] = set()
    waiting = list(program.graph.outputs)
    seen = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        producer = value.producer()
        if producer is not None:
            waiting += [given for given in producer.inputs if given is not None]
        elif value.name is not None and value.name in program.graph.initializers:
            used.add(value.name)
    return used


def _nodes_that_differ(
    model: onnx.ModelProto, program: ir.Model, affine: Affine | None
) -> Iterator[str]:
    """Yield operations, with their attributes, that the file has more often than the program."""
    import onnx
    import onnx_ir as ir

    allowed = Counter(
        # Not the whole node: torch's metadata of it is larger than all else.
        _described(node.op_type, (ir.to_proto(one) for one in node.attributes.values()))
        for node in program.graph
        if node.op_type not in _REWRITTEN
    )
    if affine is not None:
        allowed.update((kind, ()) for kind in _AFFINE)
    found = Counter(
        _described(node.op_type, node.attribute)
        for node in model.graph.node
        if node.op_type not in _REWRITTEN
    )
    for (kind, attributes), count in (found - allowed).items():
        told = ", ".join(f"{name} {value}" for name, value in attributes) or "no attributes"
        yield f"the file has {count} {kind} with {told} more than the network"
    for node in model.graph.node:
        if node.op_type == "Gemm":
            numbers = [
                onnx.helper.get_attribute_value(a) for a in node.attribute if a.type == a.FLOAT
            ]
            if any(number != 1.0 for number in numbers):
                yield f"the file has a Gemm that scales by {numbers}"


def _described(
    kind: str, attributes: Iterable[onnx.AttributeProto]
) -> tuple[str, tuple[tuple[str, str], ...]]:
    from onnx import helper

    told = ((a.name, str(helper.get_attribute_value(a))) for a in attributes)
    return kind, tuple(sorted(told))
