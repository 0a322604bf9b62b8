"""Whether files that stand may lie beside those of this run: one model, computed in one way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from convcore.engine.reopened import artifacts, opened, reopens, rows_of
from convcore.errors import SourceError, UsageError, warn
from convcore.layouts.layout import LayoutMatch
from convcore.manifest.fingerprint import fingerprint, lasting
from convcore.manifest.parts import layout_name, settings_of
from convcore.manifest.record import Manifest
from convcore.names import few
from convcore.packages import lacking
from convcore.targets.check import CheckKind
from convcore.targets.report import WrittenFile
from convcore.targets.target import Artifact, LedgerEntry, Target
from convcore.targets.weights import differing
from convcore.targets.weights.files import sha256_of
from convcore.tensors import LazyTensor

_REMEDY = "give another folder with -o, or --overwrite instead of --add"


def refuse_other_model(before: Manifest, match: LayoutMatch, output: Path) -> None:
    """Let files of one training alone lie in one folder, whatever the file is called.

    Args:
        before: The manifest of what stands.
        match: What is to be added.
        output: The folder.

    Raises:
        UsageError: Its layout is another, or a component has other weights now.
    """
    layout = layout_name(match)
    if before.layout != layout:
        raise UsageError(
            f"{output} holds the layout {before.layout or 'of nobody'}, not {layout}",
            remedy=_REMEDY,
        )
    checkpoint = match.checkpoint
    named = before.renamed, before.spelt
    if (named[1] or checkpoint.spelt) and named != (checkpoint.renamed, checkpoint.spelt):
        raise UsageError(
            f"{output} was written under other names than --rename gives now",
            remedy=f"give the same --rename; or {_REMEDY}",
        )
    differing = [
        part.name
        for part in before.components
        if part.fingerprint and part.fingerprint != fingerprint(lasting(match, part.name))
    ]
    if differing:
        raise UsageError(
            f"{output} was made from other weights than {match.checkpoint.path} has now",
            seen=[f"{name} differs" for name in differing],
            remedy=_REMEDY,
        )


def refuse_other_settings(
    before: Manifest, match: LayoutMatch, files: Iterable[WrittenFile], output: Path
) -> None:
    """Let what computes (a graph) be described by settings and sidecars it was made with.

    Files that hold the source's bytes and nothing else mean the same under any setting.

    Raises:
        UsageError: A setting or a sidecar differs; each is named with both values.
    """
    copied = {check.file for check in before.checks if check.kind is CheckKind.BYTES}
    if all(file.path in copied for file in files):
        return
    then, now = (
        {name: setting.value for name, setting in side.items()}
        for side in (before.settings, settings_of(match))
    )
    seen = [
        f"{name}: {then.get(name)} there, {now.get(name)} now"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    ]
    there = {file.path: file.sha256 for file in before.files}
    for name, path in match.sidecars.items():
        if name in match.layout.sidecars and there.get(name) not in (None, sha256_of(path)):
            seen.append(f"{path} is not the {name} there")
    if seen:
        raise UsageError(
            f"{output} holds files that were made with other settings",
            seen=seen,
            remedy=f"give the same --config; or {_REMEDY}",
        )


def refuse_other_bytes(
    before: Manifest,
    match: LayoutMatch,
    output: Path,
    files: Set[str],
    targets: Mapping[str, Target],
) -> None:
    """Compare the tensors that stand, byte for byte, with those that are read now.

    A fingerprint is made of CRC-32s, which anybody can make come out as he likes.

    Raises:
        UsageError: A tensor is another; each file is named with one.
        SourceError: A file is damaged.
    """
    checkpoint = match.checkpoint
    sources = {checkpoint.original(name): tensor for name, tensor in checkpoint.tensors.items()}
    rows = rows_of(before)
    others: dict[str, str] = {}
    unread: dict[str, list[str]] = {}
    for artifact in artifacts(before, targets):
        if artifact.path not in files or artifact.path not in rows:
            continue
        try:
            other = _other(output, artifact, rows[artifact.path], sources, targets)
        except ModuleNotFoundError as error:
            package = lacking(error)
            if package is None:
                raise
            unread.setdefault(package, []).append(artifact.path)
            continue
        if other is not None:
            others[artifact.path] = other
    for package, paths in unread.items():
        warn(f"{package} is not installed: the weights in {few(paths)} are not compared again")
    if others:
        raise UsageError(
            f"{output} was made from other weights than {checkpoint.path} has now",
            seen=[f"{file}: {name} differs" for file, name in others.items()],
            remedy=_REMEDY,
        )


def _other(
    output: Path,
    artifact: Artifact,
    rows: Sequence[LedgerEntry],
    sources: Mapping[str, LazyTensor],
    targets: Mapping[str, Target],
) -> str | None:
    """Name a tensor of a file that is another now; None also for a format of a stranger's own."""
    held = [row for row in rows if row.tensor is not None and row.state in ("written", "alias")]
    gone = next((row.tensor for row in held if row.tensor not in sources), None)
    if gone is not None:
        return gone
    found = opened(output, artifact, targets)
    if isinstance(found, SourceError):
        if reopens(artifact, targets):
            raise found
        return None
    return next(differing(rows, found, sources), None)
