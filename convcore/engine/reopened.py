"""An output folder read back as a match: the weights that were written, the settings recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.engine.plan import SPLIT
from convcore.errors import SourceError
from convcore.host.registry import Registry
from convcore.layouts.candidates import consider
from convcore.layouts.layout import LayoutMatch, Setting
from convcore.layouts.matching import assemble
from convcore.manifest import document as manifest
from convcore.manifest.ledger import places
from convcore.sources.selection import STATISTICS
from convcore.sources.source import Checkpoint
from convcore.targets.target import Artifact, Check, LedgerEntry, Target
from convcore.targets.target import reopen as reopen_any
from convcore.tensors import LazyTensor


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
    held = written(folder, content, registry.targets)
    tensors = {names.get(key, key): tensor for key, tensor in held.items()}
    name = content["layout"]
    layout = registry.find("layouts", "plain" if name in (None, SPLIT) else name)
    checkpoint = Checkpoint(
        folder,
        content["source"]["source"],
        content["source"]["format"],
        tensors,
        renamed=content.get("renamed", {}),
        spelt=content.get("spelt", {}),
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


def artifacts(content: Mapping[str, Any], targets: Mapping[str, Target]) -> list[Artifact]:
    """Return what targets made of an output; names are those in the source.

    Args:
        content: Its manifest.
        targets: All there are, by name; of one that is not installed the kind is not known.
    """
    names = {
        path: {row.key: row.tensor for row in rows if row.key and row.tensor is not None}
        for path, rows in rows_of(content).items()
    }
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for file in content["files"]:
        if file["target"] is not None:
            groups.setdefault((file["target"], file["component"]), []).append(file)
    found = []
    for (target, of), files in groups.items():
        leading = [file["path"] for file in files if file["path"] in names]
        leading = leading or [files[0]["path"]]
        others = tuple(file["path"] for file in files if file["path"] not in leading)
        kind = targets[target].kind if target in targets else None
        for path in leading:
            also = others if path == leading[0] else ()
            nbytes = sum(file["bytes"] for file in files if file["path"] in (path, *also))
            held = names.get(path, {})
            found.append(Artifact(path, target, of, held, nbytes, also, None, kind, target))
    return sorted(found, key=lambda artifact: artifact.path)


def rows_of(content: Mapping[str, Any]) -> dict[str, list[LedgerEntry]]:
    """Return the rows of the ledger by the file they tell of, further places too."""
    found: dict[str, list[LedgerEntry]] = {}
    for row in content["ledger"]:
        for file, key, state in places(row):
            entry = LedgerEntry(row["tensor"], row["target"], state, file, key, row["reason"])
            found.setdefault(file, []).append(entry)
    return found


def recorded(content: Mapping[str, Any]) -> list[Check]:
    """Return what was compared when an output was written."""
    return [
        Check(
            check["file"],
            check["check"],
            check["passed"],
            {k: v for k, v in check.items() if k not in ("file", "check", "passed")},
        )
        for check in content["checks"]
    ]


def written(
    folder: Path, content: Mapping[str, Any], targets: Mapping[str, Target]
) -> dict[str, LazyTensor]:
    """Return what the weight files of an output hold: name in the source to tensor.

    A tensor that several files hold is taken from the first that can be read; what a target wrote
    in a format of its own, and does not reopen, cannot be.

    Raises:
        SourceError: A weight file is damaged, or does not hold what the manifest says.
    """
    files = {each.path: each for each in artifacts(content, targets) if each.kind != "graph"}
    archives: dict[str, Mapping[str, LazyTensor] | SourceError] = {}
    found: dict[str, LazyTensor] = {}
    faults: dict[str, SourceError] = {}
    for row in content["ledger"]:
        name, file, key = row["tensor"], row["file"], row["key"]
        if name is None or name in found or row["state"] not in ("written", "alias"):
            continue
        if file not in files:
            continue
        if file not in archives:
            archives[file] = opened(folder, files[file], targets)
        archive = archives[file]
        if isinstance(archive, SourceError):
            if reopens(files[file], targets):
                faults[name] = archive
        elif key in archive:
            found[name] = archive[key]
        else:
            raise SourceError(
                f"{file} has no tensor {key}, which the manifest says it holds",
                remedy="convert the checkpoint again",
            )
    for name, fault in faults.items():
        if name not in found:
            raise fault
    return found


def opened(
    folder: Path, artifact: Artifact, targets: Mapping[str, Target]
) -> Mapping[str, LazyTensor] | SourceError:
    """Return what a file holds, key to tensor, or why it cannot be read."""
    read = targets[artifact.target].tensors if artifact.target in targets else reopen_any
    try:
        return read(folder, artifact)
    except SourceError as error:
        return error


def reopens(artifact: Artifact, targets: Mapping[str, Target]) -> bool:
    """Whether a target reads its files back itself, so that one it cannot read is damaged."""
    return artifact.target in targets and targets[artifact.target].reopen is not None
