"""An output that stands already: what may be written over it, and what of it stays."""

from __future__ import annotations

import stat
from pathlib import Path

import attrs

from convcore.engine.compatibility import (
    refuse_other_bytes,
    refuse_other_model,
    refuse_other_settings,
)
from convcore.engine.reopened import artifacts
from convcore.engine.request import Request
from convcore.errors import SourceError, UsageError
from convcore.host.registry import Registry
from convcore.manifest import document as manifest
from convcore.manifest.fingerprint import name_of, size_of
from convcore.manifest.ledger import kept_rows
from convcore.manifest.record import SCHEMA_VERSION, Manifest
from convcore.noun import Noun
from convcore.output.destination import contents, exists, home_of, refuse_inputs, resolve
from convcore.output.documents import EXAMPLE
from convcore.output.foreign_files import strangers_in, take
from convcore.output.staging import Staging, recover
from convcore.targets.check import Check
from convcore.targets.report import Plan, WrittenFile
from convcore.targets.target import Artifact, LedgerEntry
from convcore.targets.weights.files import sha256_of


@attrs.frozen(eq=False, repr=False)
class Kept(Noun):
    """What ``--add`` takes over from the output that stands.

    Attributes:
        files: Those that are not written again.
        artifacts: The same, as their targets made them.
        before: The manifest of that output.
        rows: Their rows of the ledger.
        checks: What was compared when they were written.
        fingerprints: Of the components they were made of.
        example: Whether a script lay beside them.
    """

    files: tuple[WrittenFile, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    before: Manifest | None = None
    rows: tuple[LedgerEntry, ...] = ()
    checks: tuple[Check, ...] = ()
    fingerprints: dict[str, str] = attrs.field(factory=dict)
    example: bool = False


def destination(request: Request) -> Path:
    """Return the folder that a request may write.

    Raises:
        UsageError: It holds something else, or the output and the input lie one in the other.
    """
    output = resolve(request.output)
    refuse_inputs(output, [request.checkpoint])
    if not request.dry_run:
        recover(output)
    there = contents(output)
    if there and (home_of(output) == output or not (request.add or request.overwrite)):
        raise exists(output, ours=manifest.listed_names(output) is not None)
    if request.add:
        source = _addable(output).source
        if request.checkpoint.exists() and (
            source.name != name_of(request.checkpoint)
            or source.nbytes != size_of(request.checkpoint)
        ):
            raise UsageError(
                f"{output} was made from {source.name}, not from {request.checkpoint}",
                remedy="give another folder with -o, or --overwrite instead of --add",
            )
    else:
        strangers_in(output)
    return output


def keep(staging: Staging, plan: Plan, registry: Registry) -> Kept:
    """Take an existing output's files into the new one, so that both appear in one step.

    Raises:
        SourceError: A file is not what the manifest beside it describes.
        UsageError: They are of another model or of other settings.
    """
    output = staging.output
    before = _addable(output)
    refuse_other_model(before, plan.match, output)
    planned = {path for artifact in plan.artifacts for path in artifact.paths}
    files = tuple(
        file for file in before.files if file.target is not None and file.path not in planned
    )
    refuse_other_settings(before, plan.match, files, output)
    staging.require(sum(file.nbytes for file in files))
    names = {file.path for file in files}
    for file in before.files:
        _as_listed(output / file.path, file, needed=file.path in names)
    refuse_other_bytes(before, plan.match, output, names, registry.targets)
    for name in names:
        take(output / name, staging.folder / name)
    renewed = {step.target.name for step in plan.steps}
    return Kept(
        files,
        tuple(each for each in artifacts(before, registry.targets) if each.path in names),
        before,
        tuple(kept_rows(before.ledger, renewed, names)),
        tuple(check for check in before.checks if check.file in names),
        {part.name: part.fingerprint for part in before.components if part.fingerprint},
        any(file.path == EXAMPLE for file in before.files),
    )


def _addable(output: Path) -> Manifest:
    """Read the manifest of an output that this version can add to.

    Raises:
        UsageError: Another version wrote it, whose record says less than this one's.
    """
    before = manifest.load(output)
    if before.schema_version != SCHEMA_VERSION:
        raise UsageError(
            f"nothing can be added to {output}: its {manifest.NAME} has schema version "
            f"{before.schema_version}, this convcore writes {SCHEMA_VERSION}",
            remedy="convert the checkpoint again, with --overwrite instead of --add and with all "
            "targets in one command",
        )
    return before


def _as_listed(there: Path, file: WrittenFile, *, needed: bool) -> None:
    """Refuse to throw away, or to take over, a file that somebody changed since it was written.

    Raises:
        SourceError: It is another file now; or it is gone, and was needed.
    """
    try:
        status = there.lstat()
    except FileNotFoundError:
        if not needed:
            return  # it is written anew
        status = None
    if status is None or not (
        stat.S_ISREG(status.st_mode)
        and status.st_size == file.nbytes
        and sha256_of(there) == file.sha256
    ):
        raise SourceError(
            f"{there} is not what the manifest beside it describes",
            remedy="move it away if it is your work; give --overwrite instead of --add, or another "
            "folder with -o",
        )
