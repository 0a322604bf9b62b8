"""Writing all or nothing: a private folder beside the output, published in one step.

A run is killed, a disk is full, two jobs share one output: whatever happens, the destination is
absent, or as it was, or whole.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs

from convcore.errors import TargetError
from convcore.interrupts import raise_if_asked, removed_at_the_end, uninterrupted
from convcore.noun import Noun
from convcore.output.digests import flush
from convcore.output.lock import locked
from convcore.output.place import disk_fault, exists, occupied, resolve, umask

_RESERVE = 16 << 20
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.convcore-(?P<pid>\d+)-[0-9a-f]{8}", re.DOTALL)


@attrs.frozen(eq=False, repr=False)
class Staging(Noun):
    """One run's private folder, the place it will be published at, and what may lie there."""

    folder: Path
    output: Path
    overwrite: bool = False

    def publish(self) -> None:
        """Flush everything and put the folder in the output's place, in one step."""
        for path in self.folder.iterdir():
            flush(path)
        flush(self.folder)
        self.folder.chmod(0o777 & ~umask())
        with uninterrupted():
            raise_if_asked()
            if occupied(self.output):
                if not self.overwrite:  # it appeared while we were at work
                    raise exists(self.output)
                _exchange(self.folder, self.output)
            else:
                with contextlib.suppress(FileNotFoundError):
                    self.output.rmdir()  # an empty folder may stand there
                self.folder.rename(self.output)
        flush(self.output.parent)

    def require(self, nbytes: int) -> None:
        """Refuse before the first byte when the disk cannot hold what is planned.

        Raises:
            TargetError: Fewer bytes are free than are needed, with a reserve.
        """
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        needed = nbytes + nbytes // 100 + _RESERVE
        if free < needed:
            raise TargetError(
                f"{self.output.parent} has {free:,} bytes free, {needed:,} are needed",
                remedy="free some space, or choose another folder with -o",
            )


@contextlib.contextmanager
def staged(output: Path, *, overwrite: bool = False) -> Iterator[Staging]:
    """Give a private folder beside ``output``; remove it again unless it was published.

    Args:
        output: The folder to make; links to a folder are followed once.
        overwrite: Whether a non-empty output may be replaced.

    Raises:
        UsageError: The output is a file, stands already, or its parent cannot be written.
        TargetError: The disk failed or is full.
    """
    output = resolve(output)
    with locked(output):
        if occupied(output) and not overwrite:
            raise exists(output)
        _clear_leftovers(output)
        folder = output.parent / f".{output.name}.convcore-{os.getpid()}-{os.urandom(4).hex()}"
        with removed_at_the_end(folder):
            try:
                folder.mkdir(mode=0o700)
                yield Staging(folder, output, overwrite)
            except OSError as error:
                raise disk_fault(error, output) from error
            finally:
                with uninterrupted():
                    shutil.rmtree(folder, ignore_errors=True)


def _clear_leftovers(output: Path) -> None:
    """Remove private folders of runs that were killed; the lock proves that none is at work."""
    for path in output.parent.glob(f".{_literal(output.name)}.convcore-*"):
        found = _LEFTOVER.fullmatch(path.name)
        if found and found["name"] == output.name and not _alive(int(found["pid"])):
            shutil.rmtree(path, ignore_errors=True)


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step where the kernel can, and leave the old one at ``new``."""
    import ctypes

    at_cwd, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fs.h
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        done = rename(at_cwd, os.fsencode(new), at_cwd, os.fsencode(old), exchange) == 0
    except (AttributeError, OSError):
        done = False
    if not done:
        aside = new.with_name(f"{new.name}.old")
        old.rename(aside)
        new.rename(old)
        aside.rename(new)
