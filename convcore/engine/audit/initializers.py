"""Initializers: the numbers inside ONNX files, against the ledger and the weight files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.engine.audit.accounts import places
from convcore.names import few
from convcore.targets.target import Check
from convcore.tensors import LazyTensor

if TYPE_CHECKING:
    import numpy as np
    import onnx

    Array = np.ndarray[Any, Any]

_SHOWN = 20


def graph_files(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows of the files that compute something."""
    return [file for file in content["files"] if str(file["path"]).endswith(".onnx")]


def audit_initializers(
    folder: Path, content: Mapping[str, Any], tensors: Mapping[str, LazyTensor]
) -> Iterator[Check]:
    """Hold the numbers inside each graph against the ledger and the weight files beside it.

    Args:
        folder: The output.
        content: Its manifest.
        tensors: Name in the source to tensor, of what the weight files hold.
    """
    import onnx

    for file in graph_files(content):
        path = folder / file["path"]
        try:
            model = onnx.load(str(path), load_external_data=False)
            problems = [*_of_labels(file, content, model), *_of_places(file, content, model)]
            if not problems:
                odd = list(_differing(model, path, content, tensors))
                problems += [f"{name} has other numbers in the weight files" for name in odd]
        except Exception as error:  # protobuf and onnx raise what they like for a damaged file
            problems = [f"it cannot be read: {type(error).__name__}: {error!s:.200}"]
        figures: dict[str, Any] = {"problems": problems[:_SHOWN]} if problems else {}
        yield Check(file["path"], "initializers", not problems, figures)


def _of_labels(
    file: Mapping[str, Any], content: Mapping[str, Any], model: onnx.ModelProto
) -> Iterator[str]:
    if file["target"] != "onnx":
        return  # a stranger's target labels its graphs as it likes
    said = {entry.key: entry.value for entry in model.metadata_props}
    wanted = {"convcore.graph": file["component"], "convcore.layout": content["layout"]}
    for key, value in wanted.items():
        if said.get(key) != value:
            yield f"its metadata has {key} {said.get(key)}, the manifest {value}"


def _of_places(
    file: Mapping[str, Any], content: Mapping[str, Any], model: onnx.ModelProto
) -> Iterator[str]:
    """Every initializer has its row, and external data lie in this graph's own file."""
    path = file["path"]
    own = {f["path"] for f in content["files"] if f["component"] == file["component"]}
    for tensor in _every_tensor(model):
        for entry in tensor.external_data:
            if entry.key == "location" and entry.value not in own:
                yield f"{tensor.name} lies in {entry.value!r}, which is no file of this graph"
    there = {tensor.name for tensor in model.graph.initializer}
    told = {
        key
        for row in content["ledger"]
        for name, key, state in places(row)
        if name == path and key and state != "dropped"
    }
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


def differing(
    path: Path, content: Mapping[str, Any], tensors: Mapping[str, LazyTensor]
) -> Iterator[str]:
    """Yield the tensors whose numbers inside a graph are not those they are said to be.

    What the ledger calls written is compared bit for bit, what it calls cast after the cast; what
    is folded only shows in what the graph computes.

    Args:
        path: The ONNX file, its external data beside it.
        content: The manifest.
        tensors: Name in the source to tensor; those that are not there are passed over.
    """
    import onnx

    yield from _differing(onnx.load(str(path), load_external_data=False), path, content, tensors)


def _differing(
    model: onnx.ModelProto,
    path: Path,
    content: Mapping[str, Any],
    tensors: Mapping[str, LazyTensor],
) -> Iterator[str]:
    from onnx import numpy_helper

    named = {tensor.name: tensor for tensor in model.graph.initializer}
    for row in content["ledger"]:
        for file, key, state in places(row):
            if file != path.name or state not in ("written", "cast") or not key:
                continue
            source = tensors.get(row["tensor"])
            if source is None:
                continue
            there = named.get(key)
            if there is None or not _same(
                numpy_helper.to_array(there, base_dir=str(path.parent)),
                source,
                cast=state == "cast",
            ):
                yield row["tensor"]


def _same(there: Array, source: LazyTensor, *, cast: bool) -> bool:
    if there.shape != source.shape:
        return False
    if not cast:
        return there.tobytes() == b"".join(source.chunks())
    import torch

    wide = source.load().to(getattr(torch, str(there.dtype))).numpy()
    return bool(wide.tobytes() == there.tobytes())
