"""Writing all or nothing: a private folder beside the output, published in one step.

A run is killed, a disk is full, two jobs share one output: whatever happens, the destination is
absent, or as it was, or whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

from convcore.errors import TargetError, UsageError
from convcore.interrupts import raise_if_asked, removed_at_the_end, uninterrupted
from convcore.manifest.document import listed_names
from convcore.names import few
from convcore.output.destination import contents, disk_fault, exists, home_of, resolve, umask
from convcore.output.digests import flush
from convcore.output.foreign_files import bring_over, strangers_in, take
from convcore.output.leftovers import OLD, are_there, clear, move_in, private_folder
from convcore.output.lock import locked

_RESERVE = 16 << 20
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@attrs.define(eq=False)
class Staging:
    """One run's private folder, the place it will be published at, and what may lie there.

    Attributes:
        folder: The private folder.
        output: Where it will be published.
        overwrite: Whether an output of convcore that stands there may be replaced.
        needed: Bytes that were asked for.
    """

    folder: Path
    output: Path
    overwrite: bool = False
    needed: int = 0

    def publish(self) -> None:
        """Flush everything and put the folder in the output's place, in one step.

        Files in it that convcore did not write stay there.
        """
        written = list(self.folder.iterdir())
        for path in written:
            flush(path)
        home = home_of(self.output)
        if home == self.output:
            flush(self.folder)
            with uninterrupted():
                raise_if_asked()
                if contents(self.output):
                    raise exists(self.output, ours=False)
                move_in(self.folder, self.output)
        else:
            strangers = frozenset[str]()
            if self.overwrite:
                strangers = strangers_in(self.output, {path.name for path in written})
            for name in strangers:
                take(self.output / name, self.folder / name)
            # A folder made in one with a group of its own has that group, and keeps it.
            group = self.folder.stat().st_mode & stat.S_ISGID
            self.folder.chmod(0o777 & ~umask() | group)
            flush(self.folder)
            with uninterrupted():
                raise_if_asked()
                self._take_place(strangers)
        flush(home)

    def _take_place(self, strangers: frozenset[str]) -> None:
        if not contents(self.output):
            self.folder.rename(self.output)  # in an empty folder's place too
            return
        # What stands may have appeared, or grown, while we were at work.
        if not self.overwrite:
            raise exists(self.output, ours=listed_names(self.output) is not None)
        late = strangers_in(self.output) - strangers
        if late:
            raise UsageError(
                f"{self.output} got files of somebody else meanwhile: {few(sorted(late))}",
                remedy="run again, or give another folder with -o",
            )
        _exchange(self.folder, self.output)
        bring_over(self.folder, self.output, strangers)

    def require(self, nbytes: int) -> None:
        """Refuse before the first byte when the disk cannot hold what is planned.

        Raises:
            TargetError: Fewer bytes are free than are needed, with a reserve.
        """
        self.needed += nbytes
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
        overwrite: Whether an output of convcore may be replaced.

    Raises:
        UsageError: The output is a file, stands already, or its parent cannot be written.
        TargetError: The disk failed or is full.
    """
    output = resolve(output)
    with locked(output):
        clear(output)
        if contents(output) and (not overwrite or home_of(output) == output):
            raise exists(output, ours=listed_names(output) is not None)
        strangers_in(output)  # before anything is made, whatever may not be replaced is refused
        folder = private_folder(output)
        staging = Staging(folder, output, overwrite)
        with removed_at_the_end(folder):
            try:
                folder.mkdir(mode=0o700)
                yield staging
            except OSError as error:
                raise disk_fault(error, output, needed=staging.needed) from error
            finally:
                with uninterrupted():
                    shutil.rmtree(folder, ignore_errors=True)


def recover(output: Path) -> None:
    """Finish or undo what runs that were killed left of an output, before anybody looks at it."""
    if are_there(output):
        with locked(output):
            clear(output)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step where the system can, and leave the old one at ``new``.

    Raises:
        OSError: The system refuses; both are where they were.
    """
    if _exchanged(new, old):
        return
    # Killed in between, the old output lies beside the new folder: the next run puts it back.
    aside = new.with_name(new.name + OLD)
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise
    aside.rename(new)


def _exchanged(new: Path, old: Path) -> bool:
    import ctypes

    at_cwd, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fs.h
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if rename(at_cwd, os.fsencode(new), at_cwd, os.fsencode(old), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(old))
