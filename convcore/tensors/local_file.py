"""A file on this machine, whose bytes are only ever read by position, never mapped."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from convcore.errors import UsageError
from convcore.escape import printable
from convcore.tensors.byte_source import CHANGED, Range, read_joined
from convcore.tensors.descriptors import Descriptor, hand_over, open_descriptor
from convcore.tensors.faults import Malformed
from convcore.tensors.opened import identity_of, note

_REMEDIES = {
    errno.EACCES: "check the path and its permissions",
    errno.EPERM: "check the path and its permissions",
    errno.EMFILE: "close other files of this process, or raise its limit (ulimit -n)",
    errno.ENFILE: "close other programs, or raise the machine's limit on open files",
    errno.ENXIO: "name a checkpoint file",  # a socket
}


class LocalFile:
    """A regular file open for reading, with the identity it had when it was opened.

    Memory mapping is avoided on purpose: a mapped file that shrinks kills the process with SIGBUS,
    while a short read is an error that can be told. Of many files only some keep a descriptor
    (``descriptors``); what is opened again must be what was opened first.

    Args:
        path: How messages call it.
        place: Where it is opened, if not at ``path`` (a link that was followed already).

    Attributes:
        path: As given.
        size: Bytes.
        identity: ``(st_dev, st_ino, st_size, st_mtime_ns)`` at the time of opening.

    Raises:
        UsageError: There is no such file.
        SourceError: It cannot be read, or is no regular file.
    """

    __slots__ = ("__weakref__", "_place", "descriptor", "identity", "path", "size")

    def __init__(self, path: Path, *, place: Path | None = None) -> None:
        self.path = path
        self.descriptor: Descriptor | None = None
        # Opened again later, perhaps from another working directory.
        self._place = Path(place or path).absolute()
        try:
            descriptor, status = self._open()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(
                f"{printable(str(path), 300)} does not exist", remedy="check the path"
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            remedy = _REMEDIES.get(getattr(error, "errno", None) or 0, "check the path")
            raise Malformed(f"cannot be opened: {reason}", remedy).at(path) from error
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise Malformed(f"is {kind}, not a file", "name a checkpoint file").at(path)
        self.size = status.st_size
        self.identity = identity_of(status)
        note(path, status)
        hand_over(self, descriptor)

    def __repr__(self) -> str:
        return f"LocalFile({str(self.path)!r}, size={self.size})"

    @property
    def name(self) -> str:
        """The path as given."""
        return str(self.path)

    def read(self, position: int, length: int) -> bytes:
        """Read exactly ``length`` bytes at ``position``.

        Raises:
            SourceError: The file is shorter now than when it was opened, or another.
        """
        data = self._pread(position, length)
        if len(data) != length:
            raise self.changed(position + len(data))
        return data

    def read_many(self, ranges: Sequence[Range]) -> list[bytes]:
        """Read several ascending ranges; see ``ByteSource.read_many``."""
        return read_joined(self, ranges)

    def _open(self) -> tuple[Descriptor, os.stat_result]:
        descriptor = open_descriptor(self._place)
        return descriptor, os.fstat(descriptor.fd)

    def _reopened(self) -> Descriptor:
        """Open the file again after its descriptor went to another.

        Raises:
            SourceError: What lies at the path now is another file, or has changed.
        """
        try:
            descriptor, status = self._open()
        except FileNotFoundError as error:
            raise self.changed(0) from error
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "check the path")
            raise Malformed(f"cannot be opened again: {error.strerror}", remedy).at(
                self.path
            ) from error
        if identity_of(status) != self.identity:
            raise self.changed(0)
        hand_over(self, descriptor)
        return descriptor

    def _pread(self, position: int, length: int) -> bytes:
        descriptor = self.descriptor or self._reopened()
        descriptor.used = True
        fd = descriptor.fd
        try:
            data = os.pread(fd, length, position)
            while 0 < len(data) < length:
                more = os.pread(fd, length - len(data), position + len(data))
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
        descriptor = self.descriptor
        try:
            found = {identity_of(self._place.stat())}
        except OSError:
            raise self.changed(0) from None  # removed or renamed meanwhile
        if descriptor is not None:
            found.add(identity_of(os.fstat(descriptor.fd)))
        if found != {self.identity}:
            raise self.changed(0)
