"""``inspect``: the road up to the match, told as plain data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import attrs

from convcore.engine.config import check_config
from convcore.errors import ConvcoreError, LayoutError, PluginError
from convcore.formats import as_plain, walk_tensors
from convcore.host.registry import Registry
from convcore.layouts.layout import Layout, LayoutMatch, Setting
from convcore.layouts.matching import configure, find_layout
from convcore.layouts.mismatch import prefixes
from convcore.layouts.unknown import by_networks
from convcore.manifest.fingerprint import digest_of, size_of
from convcore.manifest.parts import components_of, layout_name, parameters, settings_of
from convcore.manifest.plain import record_as_json
from convcore.noun import Noun
from convcore.options import InspectOptions
from convcore.sources.distance import weight_set
from convcore.sources.reading import find_runs, read_checkpoint
from convcore.sources.source import Checkpoint
from convcore.tensors import LazyTensor


@attrs.frozen(eq=False, repr=False)
class Inspection(Noun):
    """What a checkpoint is; a ``LayoutMatch`` where its layout is known.

    Attributes:
        document: The JSON document that ``convcore inspect --json`` prints.
        checkpoint: What was read; None for a folder of several runs.
        match: The layout that explains it; None where there is none, or several runs.
    """

    document: Mapping[str, Any] = attrs.field(repr=False)
    checkpoint: Checkpoint | None = None
    match: LayoutMatch | None = attrs.field(default=None, repr=False)

    @property
    def layout(self) -> Layout | None:
        """The layout, or None for an unknown model."""
        return self.match.layout if self.match else None

    @property
    def states(self) -> Mapping[str, Mapping[str, LazyTensor]]:
        """Component name to its tensors; of an unknown model, network to its tensors."""
        if self.match is not None:
            return self.match.states
        return by_networks(self.checkpoint).states if self.checkpoint else {}

    @property
    def settings(self) -> Mapping[str, Setting]:
        """Configuration values, each with its origin."""
        return self.match.settings if self.match else {}

    @property
    def sizes(self) -> Mapping[str, int]:
        """Sizes solved from the tensors."""
        return self.match.sizes if self.match else {}

    @property
    def evidence(self) -> tuple[str, ...]:
        """Sentences: why this layout; or what comes nearest, and what speaks against it."""
        return tuple(self.document.get("evidence", ()))

    @property
    def sidecars(self) -> Mapping[str, Path]:
        """Output name to path of the files that belong to the checkpoint."""
        return (self.match or self.checkpoint or Checkpoint(Path(), "", "", {})).sidecars

    @property
    def runs(self) -> tuple[Mapping[str, Any], ...]:
        """One row per run of a folder that holds several; else none."""
        return tuple(self.document.get("runs", ()))

    def value(self, name: str) -> Any:
        """Value of a setting; KeyError for a name the layout never set."""
        return self.settings[name].value


def inspect(asked: InspectOptions, registry: Registry) -> Inspection:
    """Look at a checkpoint; the document of a folder of runs is ``{"runs": […]}``.

    Args:
        asked: What to look at, and how.
        registry: Sources and layouts to ask.

    Raises:
        ConvcoreError: The file is no sound checkpoint. An unknown model is no error.
    """
    path = asked.checkpoint
    if path.is_dir() and asked.layout is None and asked.source is None:
        runs = find_runs(path, registry.claimed("sources"))
        if runs:
            return Inspection({"runs": [_run(run, path, registry) for run in runs]})
    return _look_at_one(asked, registry)


def _look_at_one(asked: InspectOptions, registry: Registry) -> Inspection:
    checkpoint = read_checkpoint(asked.checkpoint, registry, **asked.opening(), lenient=True)
    if asked.deep:
        beside = (tensor for _, tensor in walk_tensors(checkpoint.rest, file=asked.checkpoint))
        for tensor in chain(checkpoint.tensors.values(), beside):
            if not tensor.unsupported:
                tensor.verify_record()  # once for each storage, however many views repeat it
    try:
        match = find_layout(checkpoint, registry, name=asked.layout)
    except (LayoutError, PluginError) as error:
        if asked.layout is not None:
            raise
        unknown = by_networks(checkpoint)
        why = [*unknown.evidence[:-1], error.what, *error.seen]
        return Inspection(_describe(checkpoint, unknown, why, asked.tensors), checkpoint)
    check_config(match.layout, (), asked.config)
    try:
        match = configure(match, asked.config)
    except (LayoutError, PluginError) as error:
        if asked.layout is not None:
            raise
        # What the model is stands all the same; a file beside it is broken, or contradicts it.
        match = attrs.evolve(match, evidence=(*match.evidence, error.what, *error.seen))
    described = _describe(checkpoint, match, list(match.evidence), asked.tensors)
    return Inspection(described, checkpoint, match)


def _describe(
    checkpoint: Checkpoint, match: LayoutMatch, evidence: list[str], tensors: bool
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "format": checkpoint.format,
        "source": checkpoint.source,
        "layout": layout_name(match),
        "evidence": evidence,
        "tensor_count": len(checkpoint.tensors),
        "tensor_bytes": sum(tensor.nbytes for tensor in checkpoint.tensors.values()),
        "components": _components(match),
        "settings": _settings(match),
        "hyper_parameters": as_plain(checkpoint.hyper_parameters),
        "sidecars": {k: str(v) for k, v in match.sidecars.items()},
        "opaque": sorted(checkpoint.opaque),
        "metadata": as_plain(checkpoint.metadata),
        "weight_sets": [weight_set(each) for each in checkpoint.weight_sets],
    }
    if result["layout"] is None:
        result["prefixes"] = _groups(checkpoint)
    if tensors:
        owner = {name: component for component, state in match.states.items() for name in state}
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


def _settings(match: LayoutMatch) -> dict[str, Any]:
    return {name: record_as_json(setting) for name, setting in settings_of(match).items()}


def _components(match: LayoutMatch) -> list[dict[str, Any]]:
    rows = [record_as_json(part) for part in components_of(match, {})]
    return [{k: v for k, v in row.items() if k != "fingerprint"} for row in rows]


def _groups(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """An unknown model's keys by first-level prefix."""
    rows = []
    for prefix, names in prefixes(checkpoint.tensors).items():
        group = [checkpoint.tensors[name] for name in names]
        rows.append(
            {
                "name": prefix,
                "tensor_count": len(group),
                "parameter_count": parameters({n: checkpoint.tensors[n] for n in names}),
                "bytes": sum(tensor.nbytes for tensor in group),
            }
        )
    return rows


def _run(run: Path, folder: Path, registry: Registry) -> dict[str, Any]:
    row: dict[str, Any] = {"path": os.path.relpath(run, folder)}
    try:
        found = _look_at_one(InspectOptions(run), registry)
        read = found.checkpoint.path if found.checkpoint else run
        size, digest = size_of(read), digest_of(read)
    except ConvcoreError as error:
        return {**row, "error": error.what}
    except OSError as error:
        return {**row, "error": f"{error.filename or run}: {error.strerror}"}
    return {
        **row,
        **found.document["metadata"],
        "layout": found.document["layout"],
        "bytes": size,
        "parameter_count": sum(part["parameter_count"] for part in found.document["components"]),
        "sha256": digest,
    }
