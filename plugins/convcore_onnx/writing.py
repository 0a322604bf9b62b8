"""Writing the planned graphs: each architecture is traced once, whatever its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from convcore import Artifact, LedgerEntry, Workspace
from convcore.targets.networks import bare, placed
from convcore_onnx.accounting import Ledger
from convcore_onnx.exporting import Export, export, quiet
from convcore_onnx.inspection import inspect_written
from convcore_onnx.planning import Job
from convcore_onnx.surgery import label, name_axes, normalise, optimise

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch


def write_graphs(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[LedgerEntry]:
    """Export, optimise, label, save and inspect every graph.

    Returns:
        A ledger entry for every tensor of every component that a graph has.

    Raises:
        TargetError: A network could not be exported, or the file is not what was asked for.
    """
    import torch  # noqa: F401  # loaded before ``quiet``, or its log would go there for good

    ledger, exports = Ledger(), list[Export]()
    total = sum(artifact.nbytes for artifact in artifacts)
    done = 0
    for artifact in artifacts:
        with quiet():
            _write(artifact, workspace, exports, ledger)
        done += artifact.nbytes
        workspace.progress(done, total)
    return ledger.entries(workspace.match, workspace.choice)


def _write(artifact: Artifact, workspace: Workspace, exports: list[Export], ledger: Ledger) -> None:
    import onnx_ir as ir

    job: Job = artifact.plan
    graph, match = job.graph, workspace.match
    module = bare(graph, match)
    traced = job.program = _traced(module, job, exports, workspace.notes)
    model = traced.clone()
    if graph.affine is not None:
        normalise(model, graph.affine)
    optimise(model)
    name_axes(model, graph)
    label(model, graph, match)
    path = workspace.folder / artifact.path
    ir.save(model, path, external_data=artifact.also[0] if artifact.also else None)
    inspect_written(path, job)
    state = module.state_dict()
    names = {key: name for key, (_, name) in placed(graph, match, tuple(state)).items()}
    cast = frozenset(
        name
        for key, name in names.items()
        if f"torch.{match.checkpoint.tensors[name].spec.dtype}" != str(state[key].dtype)
    )
    ledger.add(artifact.path, traced, model, state, names, cast)


def _traced(module: torch.nn.Module, job: Job, exports: list[Export], notes: list[str]) -> ir.Model:
    for known in exports:
        if known.serves(job.graph, module):
            return known.refilled(module)
    exports.append(export(module, job.graph, job.opset))
    notes.extend(exports[-1].evidence)
    return exports[-1].model
