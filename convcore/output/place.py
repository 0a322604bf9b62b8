"""The place an output is to have: where it really lies, and whether it can be there."""

from __future__ import annotations

import os
from pathlib import Path

from convcore.errors import TargetError, UsageError


def resolve(output: Path) -> Path:
    """Return where the output really goes; nothing is created.

    Raises:
        UsageError: It is a file, a broken link, or its parent is no writable folder.
    """
    try:
        real = output.resolve() if output.is_symlink() else output.absolute()
        parent = real.parent
        if real.exists() and not real.is_dir():
            raise UsageError(f"{real} is a file", remedy="give a folder with -o")
        if output.is_symlink() and not real.exists():
            raise UsageError(f"{output} is a broken link", remedy="remove it, or give another -o")
        missing = not parent.is_dir()
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError up to Python 3.12
        raise UsageError(
            f"{output} cannot be an output folder: {getattr(error, 'strerror', None) or error}",
            remedy="give another -o",
        ) from error
    if missing:
        raise UsageError(
            f"the folder {parent} does not exist", remedy="make it, or give another -o"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"the folder {parent} cannot be written", remedy="choose a writable place with -o"
        )
    if real.is_dir() and not os.access(real, os.R_OK | os.W_OK | os.X_OK):
        raise UsageError(
            f"the folder {real} could not be removed once it is replaced",
            remedy="make it writable, or give another folder with -o",
        )
    if not real.name:
        raise UsageError(f"{real} cannot be replaced", remedy="give a folder below it with -o")
    return real


def occupied(output: Path) -> bool:
    """Whether something lies there already; an empty folder is nothing."""
    return output.is_dir() and any(output.iterdir())


def exists(output: Path) -> UsageError:
    """Say that the output stands already."""
    return UsageError(
        f"{output} exists and is not empty",
        remedy="give --overwrite to replace it as a whole, or another folder with -o",
    )


def disk_fault(error: OSError, output: Path) -> TargetError:
    """Say that the disk failed while an output was made."""
    where = error.filename or output
    return TargetError(
        f"writing {where} failed: {error.strerror or error}",
        remedy="free space, or mend what the system says, then run again; nothing was changed",
    )


def umask() -> int:
    """The rights that new files are not given."""
    mask = os.umask(0)  # the only way to read it is to set it
    os.umask(mask)
    return mask
