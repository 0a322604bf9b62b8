"""``inspect``: the road up to the match, told as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convcore import manifest
from convcore.archive import as_plain
from convcore.errors import ConvcoreError, LayoutError, PluginError
from convcore.host import Registry
from convcore.match import candidates, match_layout, prefixes, unexplained
from convcore.model import Checkpoint, LayoutMatch
from convcore.read import read_checkpoint


def inspect(
    path: Path,
    registry: Registry,
    *,
    layout: str | None = None,
    source: str | None = None,
    key: str | None = None,
    config: Mapping[str, str] | None = None,
    allow_opaque_calls: bool = False,
    tensors: bool = False,
    deep: bool = False,
) -> dict[str, Any]:
    """Say what a checkpoint is; a folder of runs gives ``{"runs": […]}``.

    Args:
        path: File or folder.
        registry: Sources and layouts to ask.
        layout: Hold it against this layout only.
        source: Read it with this source only.
        key: Where in the file the state dict lies.
        config: Layout options.
        allow_opaque_calls: Read files that name code-running callables; nothing is run.
        tensors: List every tensor.
        deep: Read every byte: CRCs and bounds of all tensors.

    Raises:
        ConvcoreError: The file is no sound checkpoint. An unknown model is no error.
    """
    if path.is_dir() and layout is None and source is None:
        runs = [run for each in registry.sources.values() if each.runs for run in each.runs(path)]
        if len(runs) > 1:
            return {"runs": [_run(run, path, registry) for run in sorted(set(runs))]}
    checkpoint = read_checkpoint(
        path,
        registry,
        source=source,
        key=key,
        config=config,
        allow_opaque_calls=allow_opaque_calls,
    )
    if deep:
        for tensor in checkpoint.tensors.values():
            if not tensor.unsupported:
                for _ in tensor.chunks():
                    pass
    try:
        match = match_layout(checkpoint, registry, name=layout, config=config)
    except (LayoutError, PluginError) as error:
        if layout is not None:
            raise
        return _describe(checkpoint, None, _why_not(checkpoint, registry, error), tensors)
    return _describe(checkpoint, match, list(match.evidence), tensors)


def _why_not(checkpoint: Checkpoint, registry: Registry, error: ConvcoreError) -> list[str]:
    said = [*checkpoint.evidence, error.what, *error.seen]
    nearest = unexplained(checkpoint, candidates(checkpoint, registry))
    return [*said, *(line for line in nearest if line not in said)]


def _describe(
    checkpoint: Checkpoint, match: LayoutMatch | None, evidence: list[str], tensors: bool
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "format": checkpoint.format,
        "source": checkpoint.source,
        "layout": match.layout.name if match else None,
        "evidence": evidence,
        "tensor_count": len(checkpoint.tensors),
        "tensor_bytes": sum(tensor.nbytes for tensor in checkpoint.tensors.values()),
        "components": manifest.components(match) if match else _groups(checkpoint),
        "settings": manifest.settings(match) if match else {},
        "hyper_parameters": as_plain(checkpoint.hyper_parameters),
        "sidecars": {k: str(v) for k, v in (match or checkpoint).sidecars.items()},
        "opaque": sorted(checkpoint.opaque),
        "metadata": as_plain(checkpoint.metadata),
    }
    if tensors:
        owner = {
            name: component
            for component, state in (match.states if match else {}).items()
            for name in state
        }
        result["tensors"] = [
            {
                "name": checkpoint.original(name),
                "component": owner.get(name),
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "bytes": tensor.nbytes,
                "stored_bytes": tensor.storage.nbytes,
                "unsupported": tensor.unsupported,
            }
            for name, tensor in checkpoint.tensors.items()
        ]
    return result


def _groups(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Components of an unknown model: its keys by top-level prefix."""
    rows = []
    for prefix, names in prefixes(checkpoint.tensors).items():
        group = [checkpoint.tensors[name] for name in names]
        rows.append(
            {
                "name": prefix,
                "role": "unknown",
                "tensor_count": len(group),
                "parameter_count": sum(math.prod(tensor.shape) for tensor in group),
                "bytes": sum(tensor.nbytes for tensor in group),
            }
        )
    return rows


def _run(run: Path, folder: Path, registry: Registry) -> dict[str, Any]:
    from convcore.pipeline import sha256_of

    row: dict[str, Any] = {"path": str(run.relative_to(folder))}
    try:
        found = inspect(run, registry)
    except ConvcoreError as error:
        return {**row, "error": error.what}
    file = run if run.is_file() else next(run.rglob("pytorch_model.bin"), run)
    return {
        **row,
        **found["metadata"],
        "layout": found["layout"],
        "bytes": file.stat().st_size,
        "parameter_count": sum(part["parameter_count"] for part in found["components"]),
        "sha256": sha256_of(file),
    }
