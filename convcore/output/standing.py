"""An output that stands already: what may be written over it, and what of it stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from convcore.errors import SourceError, UsageError
from convcore.noun import Noun
from convcore.output import manifest
from convcore.output.identity import size_of
from convcore.output.place import exists, resolve
from convcore.output.report import WrittenFile
from convcore.output.staging import Staging
from convcore.request import Request
from convcore.target import Check, Target
from convcore.weights.files import sha256_of


@attrs.frozen(eq=False, repr=False)
class Kept(Noun):
    """What ``--add`` takes over from the output that stands.

    Attributes:
        files: Those of targets that are not written again.
        rows: Their rows of the ledger.
        checks: What was compared when they were written.
        versions: Of the packages that wrote them.
    """

    files: tuple[WrittenFile, ...] = ()
    rows: tuple[dict[str, object], ...] = ()
    checks: tuple[Check, ...] = ()
    versions: Mapping[str, str] = attrs.field(factory=dict)


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


def keep(staging: Staging, targets: Sequence[Target]) -> Kept:
    """Take an existing output's files into the new one, so that both appear in one step.

    Raises:
        SourceError: A file is not what the manifest beside it describes.
    """
    before = manifest.load(staging.output)
    renewed = {target.name for target in targets}
    files = tuple(
        WrittenFile(*(file[key] for key in ("path", "component", "target", "bytes", "sha256")))
        for file in before["files"]
        if file["target"] is not None and file["target"] not in renewed
    )
    staging.require(sum(file.nbytes for file in files))
    for file in files:
        there, here = staging.output / file.path, staging.folder / file.path
        if there.is_symlink() or not there.is_file() or sha256_of(there) != file.sha256:
            raise SourceError(
                f"{there} is not what the manifest beside it describes",
                remedy="give --overwrite instead of --add, or another folder with -o",
            )
        try:
            os.link(there, here, follow_symlinks=False)
        except OSError:
            shutil.copyfile(there, here, follow_symlinks=False)
    names = {file.path for file in files}
    return Kept(
        files,
        tuple(dict(row) for row in before["ledger"] if row["target"] not in renewed),
        tuple(
            Check(check["file"], check["check"], check["passed"], _figures(check))
            for check in before["checks"]
            if check["file"] in names
        ),
        before["versions"],
    )


def _figures(check: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in check.items() if k not in ("file", "check", "passed")}
