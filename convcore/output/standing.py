"""An output that stands already: what may be written over it, and what of it stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import attrs

from convcore.errors import SourceError, UsageError
from convcore.names import few
from convcore.noun import Noun
from convcore.output import manifest
from convcore.output.beside import refuse_other_model, refuse_other_settings
from convcore.output.identity import size_of
from convcore.output.place import exists, resolve
from convcore.output.report import Plan, WrittenFile
from convcore.output.staging import Staging
from convcore.plan import EXAMPLE
from convcore.request import Request
from convcore.target import Check
from convcore.weights.files import sha256_of


@attrs.frozen(eq=False, repr=False)
class Kept(Noun):
    """What ``--add`` takes over from the output that stands.

    Attributes:
        files: Those that are not written again.
        rows: Their rows of the ledger.
        checks: What was compared when they were written.
        versions: Of the packages that wrote them.
        fingerprints: Of the components they were made of.
        example: Whether a script lay beside them.
        strangers: Names of files that convcore did not write.
    """

    files: tuple[WrittenFile, ...] = ()
    rows: tuple[dict[str, object], ...] = ()
    checks: tuple[Check, ...] = ()
    versions: Mapping[str, str] = attrs.field(factory=dict)
    fingerprints: dict[str, str] = attrs.field(factory=dict)
    example: bool = False
    strangers: frozenset[str] = frozenset()


def destination(request: Request) -> Path:
    """Return the folder that a request may write.

    Raises:
        UsageError: It holds something else, or the output and the input lie one in the other.
    """
    output = resolve(request.output)
    if request.add:
        before = manifest.load(output)
        if before["source"]["name"] != request.checkpoint.resolve().name or (
            before["source"]["bytes"] != size_of(request.checkpoint)
        ):
            raise UsageError(
                f"{output} was made from {before['source']['name']}, not from {request.checkpoint}",
                remedy="give another folder with -o, or --overwrite instead of --add",
            )
    elif output.is_dir() and any(output.iterdir()) and not request.overwrite:
        raise exists(output)
    if request.checkpoint.is_dir() and output.is_relative_to(request.checkpoint.resolve()):
        raise UsageError(
            f"the output {output} lies inside the folder that is read", remedy="give another -o"
        )
    if request.checkpoint.exists() and request.checkpoint.resolve().is_relative_to(output):
        raise UsageError(
            f"the input {request.checkpoint} lies inside the output {output}",
            remedy="give another -o",
        )
    return output


def keep(staging: Staging, plan: Plan) -> Kept:
    """Take an existing output's files into the new one, so that both appear in one step.

    Raises:
        SourceError: A file is not what the manifest beside it describes.
        UsageError: They are of another model or of other settings, or what is planned would take
            the place of something that convcore did not write.
    """
    before = manifest.load(staging.output)
    refuse_other_model(before, plan.match, staging.output)
    planned = {
        path for step in plan.steps for out in step.outputs for path in (out.path, *out.also)
    }
    files = tuple(
        WrittenFile(*(file[key] for key in ("path", "component", "target", "bytes", "sha256")))
        for file in before["files"]
        if file["target"] is not None and file["path"] not in planned
    )
    refuse_other_settings(before, plan.match, files, staging.output)
    strangers = _strangers(before, staging.output, planned | plan.documents.keys())
    staging.require(sum(file.nbytes for file in files))
    for file in files:
        there = staging.output / file.path
        if there.is_symlink() or not there.is_file() or sha256_of(there) != file.sha256:
            raise SourceError(
                f"{there} is not what the manifest beside it describes",
                remedy="give --overwrite instead of --add, or another folder with -o",
            )
    names = {file.path for file in files}
    for name in names | strangers:
        _take(staging.output / name, staging.folder / name)
    renewed = {step.target.name for step in plan.steps}
    return Kept(
        files,
        tuple(
            dict(row)
            for row in before["ledger"]
            if row["target"] not in renewed or row["file"] in names
        ),
        tuple(
            Check(check["file"], check["check"], check["passed"], _figures(check))
            for check in before["checks"]
            if check["file"] in names
        ),
        before["versions"],
        {part["name"]: part["fingerprint"] for part in before["components"] if part["fingerprint"]},
        any(file["path"] == EXAMPLE for file in before["files"]),
        strangers,
    )


def _strangers(before: Mapping[str, Any], output: Path, planned: Set[str]) -> frozenset[str]:
    """Names in the folder that convcore did not write: somebody's notes stay where they are."""
    known = {file["path"] for file in before["files"]} | {manifest.NAME}
    found = {path.name: path for path in output.iterdir() if path.name not in known}
    odd = [n for n, path in found.items() if n in planned or path.is_symlink() or path.is_dir()]
    if odd:
        raise UsageError(
            f"{output} holds what convcore did not write and cannot keep: {few(sorted(odd))}",
            remedy="move it away, or give another folder with -o",
        )
    return frozenset(found)


def _take(there: Path, here: Path) -> None:
    try:
        os.link(there, here, follow_symlinks=False)
    except OSError:
        shutil.copyfile(there, here, follow_symlinks=False)


def _figures(check: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in check.items() if k not in ("file", "check", "passed")}
