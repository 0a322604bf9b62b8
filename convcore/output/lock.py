"""Two runs with one output take turns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from convcore.errors import UsageError, warn
from convcore.interrupts import removed_at_the_end, uninterrupted
from convcore.output.destination import disk_fault
from convcore.output.leftovers import lock_of

_LOCK_SECONDS = 30.0
_POLL_SECONDS = 0.1


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold ``.<name>.convcore.lock``, so that two converters of one output take turns.

    On a file system without locks nothing is held: the private folders alone decide there.
    """
    path = lock_of(output)
    deadline = time.monotonic() + _LOCK_SECONDS
    told = False
    while True:
        lock = _opened(path, output)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            if time.monotonic() > deadline:
                raise UsageError(
                    f"another convcore has been writing {output} for {_LOCK_SECONDS:.0f} s",
                    remedy="wait for it, or give another folder with -o",
                ) from error
            if not told:
                warn(f"another convcore is writing {output}; waiting for it")
                told = True
            time.sleep(_POLL_SECONDS)
            continue
        except OSError:  # no locks here; the file is as good as none
            break
        # The holder before us may have removed the name in the meantime: then ours guards nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.lstat()):
                break
        os.close(lock)
    with removed_at_the_end(path):
        try:
            yield
        finally:
            with uninterrupted(), contextlib.suppress(OSError):
                path.unlink()
            os.close(lock)


def _opened(path: Path, output: Path) -> int:
    """Open the lock's file, which is empty, and make it where there is none.

    Raises:
        UsageError: Something else has its name.
        TargetError: The system does not let us.
    """
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        lock = os.open(path, flags, 0o600)
    except OSError as error:
        if path.is_symlink() or path.exists():
            raise _foreign(path) from error
        raise disk_fault(error, output) from error
    facts = os.fstat(lock)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size:
        os.close(lock)
        raise _foreign(path)
    return lock


def _foreign(path: Path) -> UsageError:
    return UsageError(
        f"{path} is no lock that you may open: convcore makes an empty file of that name",
        remedy="move it away, or give another folder with -o",
    )
