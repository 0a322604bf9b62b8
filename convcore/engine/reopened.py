"""An output folder read back as a match: the weights that were written, the settings recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import attrs

from convcore.engine.plan import SPLIT
from convcore.errors import SourceError
from convcore.host.registry import Registry
from convcore.layouts.candidates import consider
from convcore.layouts.layout import LayoutMatch
from convcore.layouts.matching import assemble
from convcore.manifest import document as manifest
from convcore.manifest.record import ArtifactRecord, Manifest
from convcore.sources.selection import STATISTICS
from convcore.sources.source import Checkpoint
from convcore.targets.target import Artifact, LedgerEntry, Target
from convcore.targets.target import reopen as reopen_any
from convcore.tensors import LazyTensor


def reopen(folder: Path, registry: Registry, content: Manifest | None = None) -> LayoutMatch:
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
    checkpoint = as_checkpoint(folder, content, registry.targets)
    name = content.layout
    layout = registry.find("layouts", "plain" if name in (None, SPLIT) else name)
    match = assemble(consider(layout, checkpoint), checkpoint)
    return attrs.evolve(
        match,
        settings=content.settings,
        sizes=content.sizes,
        evidence=checkpoint.evidence,
        # What a checkpoint's folder was looked through for lies in the output itself now.
        sidecars={side: folder / side for side in layout.sidecars if (folder / side).is_file()},
    )


def as_checkpoint(folder: Path, content: Manifest, targets: Mapping[str, Target]) -> Checkpoint:
    """Return what the weight files of an output hold, under the names the source's had."""
    names = content.names
    held = written(folder, content, targets)
    return Checkpoint(
        folder,
        content.source.source,
        content.source.format,
        {names.get(key, key): tensor for key, tensor in held.items()},
        renamed=content.renamed,
        spelt=content.spelt,
        networks={STATISTICS: content.statistics} if content.statistics else {},
        evidence=content.evidence,
    )


def artifacts(content: Manifest, targets: Mapping[str, Target]) -> list[Artifact]:
    """Return what targets made of an output; names are those in the source.

    Args:
        content: Its manifest.
        targets: All there are, by name; of one that is not installed the kind is not known.
    """
    names = {
        path: {row.key: row.tensor for row in rows if row.key and row.tensor is not None}
        for path, rows in rows_of(content).items()
    }
    owners = {file.path: file for file in content.owned}
    found = []
    for each in content.artifacts or _first_version(content, names.keys()):
        if not owners.keys() >= {each.path, *each.also}:
            continue  # ``verify`` tells of files that the record lists in one place alone
        target = str(owners[each.path].target)
        # A target knows better than a record that somebody may have changed.
        kind = targets[target].kind if target in targets else each.kind
        nbytes = sum(owners[path].nbytes for path in (each.path, *each.also))
        held = names.get(each.path, {})
        found.append(
            Artifact(
                each.path, target, each.of, held, nbytes, each.also, None, kind, each.format,
                each.variant,
            )
        )  # fmt: skip
    return sorted(found, key=lambda artifact: artifact.path)


def _first_version(content: Manifest, leading: Set[str]) -> Iterator[ArtifactRecord]:
    """Yield what the first version did not record: which files make one artifact."""
    groups: dict[tuple[str, str], list[str]] = {}
    for file in content.owned:
        groups.setdefault((str(file.target), str(file.component)), []).append(file.path)
    for (target, of), paths in groups.items():
        first, *more = [path for path in paths if path in leading] or paths[:1]
        others = tuple(path for path in paths if path not in (first, *more))
        for path in (first, *more):
            yield ArtifactRecord(path, None, of, "", target, others if path == first else ())


def rows_of(content: Manifest) -> dict[str, list[LedgerEntry]]:
    """Return the rows of the ledger by the file they tell of, further places too."""
    found: dict[str, list[LedgerEntry]] = {}
    for row in content.ledger:
        for place in row.places:
            entry = LedgerEntry(
                row.tensor, row.target, place.state, place.file, place.key, row.reason
            )
            found.setdefault(place.file, []).append(entry)
    return found


def written(
    folder: Path, content: Manifest, targets: Mapping[str, Target]
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
    for row in content.ledger:
        name, file, key = row.tensor, row.file, row.key
        if name is None or name in found or row.state not in ("written", "alias"):
            continue
        if file is None or file not in files:
            continue
        if file not in archives:
            archives[file] = opened(folder, files[file], targets)
        archive = archives[file]
        if isinstance(archive, SourceError):
            if reopens(files[file], targets):
                faults[name] = archive
        elif key is not None and key in archive:
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
