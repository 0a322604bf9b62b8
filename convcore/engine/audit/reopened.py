"""An output folder read back as a match: the weights that were written, the settings recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.engine.plan import SPLIT
from convcore.errors import SourceError
from convcore.formats import open_archive, walk_tensors
from convcore.host.registry import Registry
from convcore.layouts.candidates import consider
from convcore.layouts.layout import LayoutMatch, Setting
from convcore.layouts.matching import assemble
from convcore.manifest import document as manifest
from convcore.sources.selection import STATISTICS
from convcore.sources.source import Checkpoint
from convcore.tensors import LazyTensor

# Targets whose files any reader of checkpoints reads.
_READABLE = ("pth", "state-dict", "safetensors")


def reopen(
    folder: Path, registry: Registry, content: Mapping[str, Any] | None = None
) -> LayoutMatch:
    """Rebuild the match of an output folder from its manifest and its weight files.

    Args:
        folder: What ``convcore convert`` wrote.
        registry: Where the layout is looked up; a split made on the command line has none and is
            read as the layout ``plain``.
        content: The manifest, where it was loaded already.

    Raises:
        UsageError: The folder is no output of convcore, or its layout's plugin is not installed.
        SourceError: A weight file is damaged, or does not hold what the manifest says.
    """
    content = manifest.load(folder) if content is None else content
    names = {original: name for name, original in content.get("renamed", {}).items()}
    tensors = {names.get(key, key): tensor for key, tensor in written(folder, content).items()}
    name = content["layout"]
    layout = registry.find("layouts", "plain" if name in (None, SPLIT) else name)
    checkpoint = Checkpoint(
        folder,
        content["source"]["source"],
        content["source"]["format"],
        tensors,
        renamed=content.get("renamed", {}),
        networks={STATISTICS: tuple(content["statistics"])} if "statistics" in content else {},
        evidence=tuple(content["evidence"]),
    )
    match = assemble(consider(layout, checkpoint), checkpoint)
    settings = {k: Setting(s["value"], s["origin"]) for k, s in content["settings"].items()}
    return attrs.evolve(
        match,
        settings=settings,
        sizes=content["sizes"],
        evidence=checkpoint.evidence,
        # What a checkpoint's folder was looked through for lies in the output itself now.
        sidecars={side: folder / side for side in layout.sidecars if (folder / side).is_file()},
    )


def written(folder: Path, content: Mapping[str, Any]) -> dict[str, LazyTensor]:
    """Return what the weight files of an output hold: name in the source to tensor.

    A tensor that several files hold is taken from the first that can be read; what a target wrote
    in a format of its own cannot be.

    Raises:
        SourceError: A weight file is damaged, or does not hold what the manifest says.
    """
    archives: dict[str, dict[str, LazyTensor] | SourceError] = {}
    found: dict[str, LazyTensor] = {}
    faults: dict[str, SourceError] = {}
    for row in content["ledger"]:
        name, file = row["tensor"], row["file"]
        if name is None or name in found or row["state"] not in ("written", "alias"):
            continue
        if not file or file.endswith(".onnx"):
            continue
        if file not in archives:
            archives[file] = _opened(folder / file)
        archive = archives[file]
        if isinstance(archive, SourceError):
            if row["target"] in _READABLE:
                faults[name] = archive
        elif row["key"] in archive:
            found[name] = archive[row["key"]]
        else:
            raise SourceError(
                f"{file} has no tensor {row['key']}, which the manifest says it holds",
                remedy="convert the checkpoint again",
            )
    for name, fault in faults.items():
        if name not in found:
            raise fault
    return found


def _opened(path: Path) -> dict[str, LazyTensor] | SourceError:
    try:
        return dict(walk_tensors(open_archive(path).tree))
    except SourceError as error:
        return error
