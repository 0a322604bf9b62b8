"""Few descriptors for many files: those not read lately are closed, and opened again when needed.

A checkpoint may have more shards than a process may have open files (256 on some systems).
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from pathlib import Path
from typing import Protocol
from weakref import ReferenceType, ref

MOST = 64


class Descriptor:
    """An open descriptor, closed when nobody uses it any more.

    A reader keeps the object while it reads: to let go of a descriptor is to drop the reference to
    it, and never closes it under another thread's hands.

    Attributes:
        fd: The descriptor.
        used: Whether it was read since it was last considered for closing.
    """

    __slots__ = ("fd", "used")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.used = True

    def __del__(self) -> None:
        os.close(self.fd)


class Owner(Protocol):
    """A file that can do without its descriptor."""

    descriptor: Descriptor | None


_LOCK = threading.Lock()
_OWNERS: deque[ReferenceType[Owner]] = deque()


def open_descriptor(path: Path) -> Descriptor:
    """Open a file for reading; where there are too many open files, close ours and try again.

    Raises:
        OSError: It cannot be opened.
        ValueError: No file can have such a path.
    """
    # O_NONBLOCK: opening a FIFO without a writer would wait for ever.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return Descriptor(os.open(path, flags))
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    _close_down_to(0)
    return Descriptor(os.open(path, flags))


def hand_over(owner: Owner, descriptor: Descriptor) -> None:
    """Give a file its descriptor, and take another's that was not read for a while."""
    owner.descriptor = descriptor
    with _LOCK:
        _OWNERS.append(ref(owner))
    _close_down_to(MOST)


def _close_down_to(most: int) -> None:
    """Close descriptors, oldest first; one that was read meanwhile gets a second chance."""
    with _LOCK:
        while len(_OWNERS) > most:
            oldest = _OWNERS.popleft()
            owner = oldest()
            descriptor = owner.descriptor if owner is not None else None
            if owner is None or descriptor is None:
                continue
            if descriptor.used and most:
                descriptor.used = False
                _OWNERS.append(oldest)
            else:
                owner.descriptor = None
