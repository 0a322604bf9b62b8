"""Writing all or nothing: a private folder beside the output, published in one step.

A run is killed, a disk is full, two jobs share one output: whatever happens, the destination is
absent, or as it was, or whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from convcore.errors import TargetError, UsageError
from convcore.interrupts import raise_if_asked, removed_at_the_end, uninterrupted
from convcore.noun import Noun
from convcore.output.digests import flush

_RESERVE = 16 << 20
_LOCK_SECONDS = 30.0
_POLL_SECONDS = 0.1
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
        self.folder.chmod(0o777 & ~_umask())
        with uninterrupted():
            raise_if_asked()
            if _occupied(self.output):
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
    with _locked(output):
        if _occupied(output) and not overwrite:
            raise exists(output)
        _clear_leftovers(output)
        folder = output.parent / f".{output.name}.convcore-{os.getpid()}-{os.urandom(4).hex()}"
        with removed_at_the_end(folder):
            try:
                folder.mkdir(mode=0o700)
                yield Staging(folder, output, overwrite)
            except OSError as error:
                raise _disk(error, output) from error
            finally:
                with uninterrupted():
                    shutil.rmtree(folder, ignore_errors=True)


def exists(output: Path) -> UsageError:
    """Say that the output stands already."""
    return UsageError(
        f"{output} exists and is not empty",
        remedy="give --overwrite to replace it as a whole, or another folder with -o",
    )


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


def _occupied(output: Path) -> bool:
    return output.is_dir() and any(output.iterdir())


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Hold ``.<name>.convcore.lock``, so that two converters of one output take turns."""
    path = output.parent / f".{output.name}.convcore.lock"
    deadline = time.monotonic() + _LOCK_SECONDS
    told = False
    while True:
        try:
            lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _disk(error, output) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if not isinstance(error, BlockingIOError):
                yield  # a file system without locks: the private folder alone decides
                return
            if time.monotonic() > deadline:
                raise UsageError(
                    f"another convcore has been writing {output} for {_LOCK_SECONDS:.0f} s",
                    remedy="wait for it, or give another folder with -o",
                ) from error
            if not told:
                from convcore.errors import warn

                warn(f"another convcore is writing {output}; waiting for it")
                told = True
            time.sleep(_POLL_SECONDS)
            continue
        # The holder before us may have removed the name in the meantime: then ours guards nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(lock).st_ino == path.lstat().st_ino:
                break
        os.close(lock)
    with removed_at_the_end(path):
        try:
            yield
        finally:
            with uninterrupted(), contextlib.suppress(OSError):
                path.unlink()
            os.close(lock)


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _disk(error: OSError, output: Path) -> TargetError:
    where = error.filename or output
    return TargetError(
        f"writing {where} failed: {error.strerror or error}",
        remedy="free some space or mend the file system, then run again; nothing was changed",
    )
