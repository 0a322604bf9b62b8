"""An output folder read back as a match: the weights that were written, the settings recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.archive import LazyTensor, open_archive, walk_tensors
from convcore.errors import SourceError
from convcore.host import Registry
from convcore.match import assemble
from convcore.match.candidates import consider
from convcore.model import Checkpoint, LayoutMatch, Setting
from convcore.output import manifest


def reopen(folder: Path, registry: Registry) -> LayoutMatch:
    """Rebuild the match of an output folder from its manifest and its weight files.

    Args:
        folder: What ``convcore convert`` wrote.
        registry: Where the layout is looked up; a split made on the command line has none and is
            read as the layout ``plain``.

    Raises:
        UsageError: The folder is no output of convcore, or its layout's plugin is not installed.
        SourceError: A weight file is damaged, or does not hold what the manifest says.
    """
    content = manifest.load(folder)
    names = {original: name for name, original in content.get("renamed", {}).items()}
    tensors = {names.get(key, key): tensor for key, tensor in written(folder, content)}
    name = content["layout"]
    layout = registry.find("layouts", name if name in registry.layouts else "plain")
    checkpoint = Checkpoint(
        folder,
        content["source"]["source"],
        content["source"]["format"],
        tensors,
        renamed=content.get("renamed", {}),
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


def written(folder: Path, content: Mapping[str, Any]) -> Iterator[tuple[str, LazyTensor]]:
    """Yield (name in the source, tensor in the output) for every weight file of the manifest."""
    archives: dict[str, dict[str, LazyTensor]] = {}
    seen = set()
    for row in content["ledger"]:
        name, file = row["tensor"], row["file"]
        if name is None or name in seen or row["state"] not in ("written", "alias"):
            continue
        if not file or file.endswith(".onnx"):
            continue
        if file not in archives:
            archives[file] = dict(walk_tensors(open_archive(folder / file).tree))
        tensor = archives[file].get(row["key"])
        if tensor is None:
            raise SourceError(
                f"{file} has no tensor {row['key']}, which the manifest says it holds",
                remedy="convert the checkpoint again",
            )
        seen.add(name)
        yield name, tensor
