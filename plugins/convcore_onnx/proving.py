"""Parity of every written graph with the network of the written weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from convcore.network import build
from convcore.proof.parity import compare
from convcore.target import Check, Output, Workspace
from convcore.weights.written import written_weights
from convcore_onnx.planning import Job


def prove_graphs(outputs: Sequence[Output], workspace: Workspace) -> Iterator[Check]:
    """Compare each file with its network, built from weight files of this run where there are."""
    choice = workspace.choice
    for output in outputs:
        job: Job = output.plan
        found = {part: written_weights(workspace, part) for part in job.graph.components}
        weights = {part: there[1] for part, there in found.items() if there}
        module = build(job.graph, workspace.match, weights)
        path = workspace.folder / output.path
        check = compare(module, path, job.graph, atol=choice.atol, rtol=choice.rtol)
        reference = [there[0] if there else "checkpoint" for there in found.values()]
        figures = {**check.figures, "reference": reference}
        yield attrs.evolve(check, file=output.path, figures=figures)
