"""Parity: does an ONNX file compute what the torch network computes, and how nearly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore import onnx_runtime
from convcore.network import run
from convcore.proof.agreement import Tolerance, measure
from convcore.samples import draw, sizes_for
from convcore.target import Check

if TYPE_CHECKING:
    import numpy as np
    import torch

    from convcore.model import Graph
    from convcore.proof.agreement import Arrays


def compare(
    module: torch.nn.Module,
    path: Path,
    graph: Graph,
    *,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
) -> Check:
    """Run the network and the file on the same inputs and compare every output.

    Args:
        module: The reference, as ``convcore.network.build`` makes it.
        path: The ONNX file, external data beside it.
        graph: What both compute.
        atol: See ``convcore.proof.agreement.Tolerance``.
        rtol: Likewise.
        seed: Of the inputs.

    Returns:
        A check named ``parity`` with the figures of ``convcore.proof.agreement.measure`` and the
        tolerances that were given, so that the same can be asked again; one that failed with
        ``problems`` where onnxruntime cannot load or run the file at all.
    """
    runs: list[tuple[Arrays, Arrays]] = []
    misfits: list[str] = []
    try:
        runner = onnx_runtime.session(path)
        names = [output.name for output in runner.get_outputs()]
        for inputs in trials(graph, seed):
            reference = run(module, graph, inputs)
            misfits += _misfits(graph, inputs, reference)
            runs.append((reference, dict(zip(names, runner.run(None, inputs), strict=True))))
    except onnx_runtime.errors() as error:
        problem = f"onnxruntime cannot run it: {onnx_runtime.told(error)}"
        return Check(path.name, "parity", False, {"problems": [problem]})
    passed, figures = measure(runs, Tolerance(atol, rtol))
    asked = {"atol": atol, "rtol": rtol}
    figures |= {name: value for name, value in asked.items() if value is not None}
    if misfits:
        problems = [*figures.get("problems", ()), *dict.fromkeys(misfits)]
        return Check(path.name, "parity", False, {**figures, "problems": problems})
    return Check(path.name, "parity", passed, figures)


def trials(graph: Graph, seed: int = 0) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """Yield the inputs of a comparison: two seeds, all other sizes, zeros and a constant."""
    sizes = sizes_for(graph)
    yield draw(graph, sizes.traced, seed)
    yield draw(graph, sizes.traced, seed + 1)
    for number, other in enumerate(sizes.others):
        yield draw(graph, other, seed + 2 + number)
    yield draw(graph, sizes.traced, seed, "zeros")
    yield draw(graph, sizes.traced, seed, "constant")


def _misfits(graph: Graph, inputs: Arrays, outputs: Arrays) -> Iterator[str]:
    """Yield outputs of the network that do not have the shape their axes declare."""
    sizes: dict[int | str, int] = {}
    for axis in graph.inputs:
        sizes.update(zip(axis.shape, inputs[axis.name].shape, strict=True))
    for axis in graph.outputs:
        found = outputs[axis.name].shape
        wanted = tuple(sizes.get(size, size) for size in axis.shape)
        # An output may have an axis that no input names; then any size of it is right.
        if len(found) != len(wanted) or any(
            isinstance(size, int) and size != n for size, n in zip(wanted, found, strict=True)
        ):
            yield f"the network gives {axis.name} as {found}, declared is {wanted}"
