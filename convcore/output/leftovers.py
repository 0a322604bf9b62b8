"""Private names of runs, and what runs that were killed left under theirs."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import zlib
from pathlib import Path

from convcore.manifest import document as manifest
from convcore.output.destination import home_of

OLD = ".old"
_NAME = re.compile(
    r"\.(?:(?P<of>.+)\.)?convcore-(?P<pid>[0-9]+)-(?P<host>[0-9a-f]{8})[0-9a-f]{8}"
    rf"(?P<old>{re.escape(OLD)})?",
    re.DOTALL,
)


def lock_of(output: Path) -> Path:
    """The lock of an output: ``.NAME.convcore.lock`` beside it."""
    return _private(output, ".lock")


def private_folder(output: Path) -> Path:
    """A new name for this run's folder: ``.NAME.convcore-PID-RANDOM`` beside the output.

    The random part begins with the host, since others that share the disk have process ids too.
    """
    return _private(output, f"-{os.getpid()}-{_host()}{os.urandom(4).hex()}")


def are_there(output: Path) -> bool:
    """Whether killed runs of this host left anything beside an output."""
    return bool(_left(output, old=True) or _left(output, old=False))


def clear(output: Path) -> None:
    """Finish or undo what killed runs of this host left; the output's lock is held.

    A run may have been killed between the two renames that replace an old output where the kernel
    cannot exchange folders: then its new folder stands yet, and the old one is put back.
    """
    for old in _left(output, old=True):
        new = old.with_name(old.name.removesuffix(OLD))
        if not new.exists():  # both renames were made
            shutil.rmtree(old, ignore_errors=True)
            continue
        with contextlib.suppress(OSError):  # something else has the name: both stay, unharmed
            old.rename(output)
    for new in _left(output, old=False):
        if new.with_name(new.name + OLD).exists():
            continue
        if home_of(output) == output:
            with contextlib.suppress(OSError):
                move_in(new, output)
        shutil.rmtree(new, ignore_errors=True)


def move_in(folder: Path, output: Path) -> None:
    """Move a whole folder's files into a mounted output, the manifest last.

    Without a manifest the folder was not whole yet, and nothing is moved.

    Raises:
        OSError: A name is taken, or the disk failed; everything is back in its folder then.
    """
    if not (folder / manifest.NAME).is_file():
        return
    names = [path.name for path in folder.iterdir()]
    names.sort(key=lambda name: name == manifest.NAME)
    for name in names:
        if os.path.lexists(output / name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(output / name))
    moved: list[str] = []
    try:
        for name in names:
            (folder / name).rename(output / name)
            moved.append(name)
    except OSError:
        for name in moved:
            (output / name).rename(folder / name)
        raise


def _private(output: Path, ending: str) -> Path:
    home = home_of(output)
    name = "" if home == output else f"{output.name}."
    return home / f".{name}convcore{ending}"


def _left(output: Path, *, old: bool) -> list[Path]:
    home = home_of(output)
    try:
        names = [(path, _NAME.fullmatch(path.name)) for path in home.iterdir()]
    except OSError:  # one may write into a folder that one may not list
        return []
    return [
        path
        for path, found in names
        if found
        and found["of"] == (None if home == output else output.name)
        and found["host"] == _host()
        and bool(found["old"]) == old
        and not _alive(int(found["pid"]))
    ]


def _host() -> str:
    return f"{zlib.crc32(os.fsencode(os.uname().nodename)):08x}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
