"""Weights as they lie in an output folder, so that what is proved is what was written."""

from __future__ import annotations

from pathlib import Path

from convcore.formats import open_archive, walk_tensors
from convcore.targets.target import Output, Workspace
from convcore.tensors import LazyTensor

_WEIGHT_TARGETS = ("pth", "safetensors")


def written_weights(
    workspace: Workspace, component: str
) -> tuple[str, dict[str, LazyTensor]] | None:
    """Open what this run wrote for a component.

    Returns:
        The file's name and its tensors under their names in the checkpoint; None where the run
        writes no weight file of this component.
    """
    for target in _WEIGHT_TARGETS:
        for output in workspace.outputs:
            if (output.target, output.component) == (target, component):
                return output.path, _named(workspace.folder / output.path, output)
    return None


def _named(path: Path, output: Output) -> dict[str, LazyTensor]:
    found = dict(walk_tensors(open_archive(path).tree))
    return {name: found[key] for key, name in output.tensors.items() if key in found}
