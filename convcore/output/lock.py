"""Two runs with one output take turns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from convcore.errors import UsageError, warn
from convcore.interrupts import removed_at_the_end, uninterrupted
from convcore.output.place import disk_fault

_LOCK_SECONDS = 30.0
_POLL_SECONDS = 0.1


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold ``.<name>.convcore.lock``, so that two converters of one output take turns."""
    path = output.parent / f".{output.name}.convcore.lock"
    deadline = time.monotonic() + _LOCK_SECONDS
    told = False
    while True:
        try:
            lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_fault(error, output) from error
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
