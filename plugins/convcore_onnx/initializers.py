"""The numbers inside ONNX files: read back as tensors, and held against ledger and weight files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convcore import Artifact, Check, CheckKind, LazyTensor, LedgerEntry, Reopened, TensorSpec
from convcore.names import few
from convcore.targets.weights import differing, from_arrays, lying

if TYPE_CHECKING:
    import onnx

_SHOWN = 20


def read_initializers(folder: Path, artifact: Artifact) -> dict[str, LazyTensor]:
    """Return the initializers of a graph: name to tensor."""
    import onnx

    path = folder / artifact.path
    return _tensors(onnx.load(str(path), load_external_data=False), path)


def recheck_initializers(artifact: Artifact, output: Reopened) -> Check:
    """Hold the numbers inside a graph against the ledger and the weight files beside it."""
    import onnx

    path = output.folder / artifact.path
    rows = [row for row in output.rows if row.file == artifact.path]
    try:
        model = onnx.load(str(path), load_external_data=False)
        problems = [*_of_labels(artifact, output.layout, model), *_of_places(artifact, rows, model)]
        if not problems:
            odd = list(differing(rows, _tensors(model, path), output.tensors))
            problems += [f"{name} has other numbers in the weight files" for name in odd]
    except Exception as error:  # protobuf and onnx raise what they like for a damaged file
        problems = [f"it cannot be read: {type(error).__name__}: {error!s:.200}"]
    return Check(
        artifact.path,
        "initializers",
        not problems,
        {"problems": problems[:_SHOWN]} if problems else {},
        CheckKind.GRAPH,
    )


def _tensors(model: onnx.ModelProto, path: Path) -> dict[str, LazyTensor]:
    from onnx import TensorProto, helper, numpy_helper

    found: dict[str, LazyTensor] = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:  # large: it stays where it lies
            said = {entry.key: entry.value for entry in tensor.external_data}
            dtype = str(helper.tensor_dtype_to_np_dtype(tensor.data_type))
            place = TensorSpec(dtype, tuple(tensor.dims)), int(said.get("offset", 0))
            found |= lying(path.with_name(said["location"]), {tensor.name: place})
        else:
            found |= from_arrays(path, {tensor.name: numpy_helper.to_array(tensor)})
    return found


def _of_labels(artifact: Artifact, layout: str | None, model: onnx.ModelProto) -> Iterator[str]:
    said = {entry.key: entry.value for entry in model.metadata_props}
    wanted = {"convcore.graph": artifact.of, "convcore.layout": layout}
    for key, value in wanted.items():
        if said.get(key) != value:
            yield f"its metadata has {key} {said.get(key)}, the manifest {value}"


def _of_places(
    artifact: Artifact, rows: Sequence[LedgerEntry], model: onnx.ModelProto
) -> Iterator[str]:
    """Every initializer has its row, and external data lie in this graph's own file."""
    for tensor in _every_tensor(model):
        for entry in tensor.external_data:
            if entry.key == "location" and entry.value not in artifact.paths:
                yield f"{tensor.name} lies in {entry.value!r}, which is no file of this graph"
    there = {tensor.name for tensor in model.graph.initializer}
    told = {row.key for row in rows if row.key and row.state != "dropped"}
    if there != told:
        yield f"the ledger and its initializers differ in {few(sorted(there ^ told))}"


def _every_tensor(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield the tensors of a graph, its functions and every graph inside a node."""
    graphs = [model.graph]
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += [] if graph is model.graph else graph.node
            continue
        for attribute in nodes.pop().attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            graphs += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
