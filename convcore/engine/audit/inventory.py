"""Inventory: the files of an output folder held against the list in its manifest."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from convcore.manifest import document as manifest
from convcore.manifest.record import Manifest
from convcore.names import few
from convcore.output.destination import contents
from convcore.targets.check import Check, CheckKind
from convcore.targets.report import WrittenFile
from convcore.targets.weights.files import sha256_of

_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def take_inventory(folder: Path, content: Manifest) -> Iterator[Check]:
    """Yield one check per listed file, and one of the list itself.

    A file is hashed once, and only where its kind and size are as listed: links are not followed,
    pipes and devices not opened, and a size that contradicts costs no reading.
    """
    yield _listing(folder, content)
    for file in {file.path: file for file in content.files}.values():
        yield _digest(folder / file.path, file)


def _listing(folder: Path, content: Manifest) -> Check:
    paths = [file.path for file in content.files]
    kept = set(content.strangers)
    there = set(contents(folder))
    problems = []
    if not paths:
        problems.append("it lists no file at all")
    for path, count in Counter(paths).items():
        if count > 1:
            problems.append(f"it lists {path} {count} times")
        if path == manifest.NAME or path in kept:
            problems.append(f"it lists {path}, which cannot be one of its files")
    kind = _kind(os.lstat(folder / manifest.NAME))
    if kind is not None:
        problems.append(f"{manifest.NAME} is {kind}, not a file")
    added = sorted(there - set(paths) - kept - {manifest.NAME})
    if added:
        problems.append(f"it does not list what lies there: {few(added, 12)}")
    figures = {"files": len(paths)} | ({"problems": problems} if problems else {})
    return Check(manifest.NAME, "files listed", not problems, figures, CheckKind.LISTING)


def _digest(path: Path, file: WrittenFile) -> Check:
    expected = file.sha256
    try:
        status = os.lstat(path)
        odd = _kind(status)
        if odd is not None:
            found = f"{odd} in place of a file"
        elif status.st_size != file.nbytes:
            found = f"{status.st_size:,} bytes in place of {file.nbytes:,}"
        else:
            found = sha256_of(path)
    except FileNotFoundError:
        found = "no such file"
    except OSError as error:
        found = f"cannot be read: {error.strerror}"
    figures = {"expected": expected, "found": found}
    return Check(path.name, "sha256", found == expected, figures, CheckKind.DIGEST)


def _kind(status: os.stat_result) -> str | None:
    """Say what is no regular file; None for one."""
    if stat.S_ISREG(status.st_mode):
        return None
    return next((word for is_, word in _KINDS if is_(status.st_mode)), "a device")
