"""Parity of every written graph with the network of the written weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from convcore import Artifact, Check, Graph, Workspace
from convcore.names import counted
from convcore.targets.networks import build
from convcore.verification.parity import compare
from convcore_onnx.planning import Job

# What a graph computes with as it stands.
_COMPUTED = ("float32", "int64")


def prove_graphs(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[Check]:
    """Compare each file with its network, built from weight files of this run where there are."""
    options = workspace.choice.options
    for artifact in artifacts:
        job: Job = artifact.plan
        found = {part: workspace.written(part) for part in job.graph.components}
        weights = {part: there[1] for part, there in found.items() if there}
        module = build(job.graph, workspace.match, weights)
        path = workspace.folder / artifact.path
        check = compare(
            module,
            path,
            job.graph,
            atol=options["atol"],
            rtol=options["rtol"],
            allow_nan=options["allow_nan"],
            program=job.program,
        )
        job.program = None  # it holds all weights
        workspace.notes.extend(_said(workspace, job.graph))
        reference = [there[0] if there else "checkpoint" for there in found.values()]
        figures = {**check.figures, "reference": reference}
        yield attrs.evolve(check, file=artifact.path, figures=figures)


def _said(workspace: Workspace, graph: Graph) -> Iterator[str]:
    """Yield what is told of the weights of a graph: which are NaN, and which were cast."""
    match = workspace.match
    kinds: dict[str, int] = {}
    for part in graph.components:
        for name, tensor in match.states[part].items():
            if name in match.dropped:
                continue
            if tensor.dtype not in _COMPUTED and tensor.shape:
                kinds[tensor.dtype] = kinds.get(tensor.dtype, 0) + 1
            if tensor.dtype.startswith(("float", "bfloat")):
                nan = int(tensor.load().isnan().sum())
                if nan:
                    yield f"{graph.name}: {counted(nan, 'value')} of {name} is NaN"
    for dtype, count in kinds.items():
        yield f"{graph.name}: {counted(count, 'tensor')} of {dtype} cast to float32"
