"""An open file whose bytes are only ever read by position, never mapped."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from convcore.archive.faults import Malformed
from convcore.archive.opened import identity_of, note
from convcore.errors import UsageError
from convcore.escape import printable

CHANGED = "let whatever writes the file finish, then start again"


class SourceFile:
    """A regular file open for reading, with the identity it had when it was opened.

    Memory mapping is avoided on purpose: a mapped file that shrinks kills the process with SIGBUS,
    while a short read is an error that can be told.

    Attributes:
        path: As given.
        fd: Open descriptor, or -1 for bytes held in memory.
        size: Bytes.
        identity: ``(st_dev, st_ino, st_size, st_mtime_ns)`` at the time of opening.
        checked: Positions of the records whose CRC-32 was found right.

    Raises:
        UsageError: There is no such file.
        SourceError: It cannot be read, or is no regular file.
    """

    __slots__ = ("_held", "checked", "fd", "identity", "path", "size")

    def __init__(self, path: Path, *, held: bytes | None = None) -> None:
        self.path = path
        self.fd = -1
        self.checked: set[int] = set()
        self._held = held
        if held is not None:
            self.size = len(held)
            self.identity = (0, 0, self.size, 0)
            return
        try:
            # O_NONBLOCK: opening a FIFO without a writer would wait for ever.
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            status = os.fstat(self.fd)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(
                f"{printable(str(path), 300)} does not exist", remedy="check the path"
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Malformed(f"cannot be opened: {reason}", "check the path and its permissions").at(
                path
            ) from error
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise Malformed(f"is {kind}, not a file", "name a checkpoint file").at(path)
        self.size = status.st_size
        self.identity = identity_of(status)
        note(path, status)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def __repr__(self) -> str:
        return f"SourceFile({str(self.path)!r}, size={self.size})"

    def read(self, position: int, length: int) -> bytes:
        """Read exactly ``length`` bytes at ``position``.

        Raises:
            SourceError: The file is shorter now than when it was opened.
        """
        if self._held is not None:
            data = self._held[position : position + length]
        else:
            data = self._pread(position, length)
        if len(data) != length:
            raise self.changed(position + len(data))
        return data

    def _pread(self, position: int, length: int) -> bytes:
        try:
            data = os.pread(self.fd, length, position)
            while 0 < len(data) < length:
                more = os.pread(self.fd, length - len(data), position + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise Malformed(
                f"cannot be read: {error.strerror}", "check the disk or the network share"
            ).at(self.path, offset=position) from error
        return data

    def changed(self, position: int) -> Exception:
        """The error for bytes that were there when the file was opened and are gone."""
        return Malformed("the file changed while reading", CHANGED).at(self.path, offset=position)

    def check_unchanged(self) -> None:
        """Compare the file with what was opened; call it before publishing what was made of it.

        Raises:
            SourceError: Size or modification time differ, or the path names another file now.
        """
        if self.fd < 0:
            return
        try:
            named = identity_of(self.path.stat())
        except OSError:
            named = None  # removed or renamed meanwhile
        if not named == identity_of(os.fstat(self.fd)) == self.identity:
            raise self.changed(0)
