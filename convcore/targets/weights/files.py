"""Files that were not there before: created, grown from front to back, hashed."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from convcore.tensors import LazyTensor

# Small enough to stay in the cache, large enough for the kernel to write it in few strides.
PIECE = 512 << 10
# Having freed a block of its size, glibc keeps that much at hand: pieces get the same memory again
# and again, in place of pages from the kernel that have to be cleared first.
bytes(16 * PIECE)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create(path: Path) -> int:
    """Create a file that is not there yet and return its descriptor; links are not followed."""
    return os.open(path, _NEW, 0o666)


def copy(tensor: LazyTensor, descriptor: int) -> int:
    """Append a tensor's bytes (logical order, little endian) to a file; return how many.

    They pass through memory: between places that begin anywhere in a page, the kernel's own ways
    of copying are slower.

    Raises:
        SourceError: The source has fewer bytes now than it had.
        OSError: The descriptor cannot take them.
    """
    written = 0
    for piece in tensor.chunks(PIECE):
        append(piece, descriptor)
        written += len(piece)
    return written


def crc_of(tensor: LazyTensor) -> int:
    """CRC-32 of the bytes that ``copy`` appends; the source's own where it covers just these."""
    if tensor.covers_storage and tensor.storage.crc is not None:
        return tensor.storage.crc
    crc = 0
    for piece in tensor.chunks(PIECE):
        crc = zlib.crc32(piece, crc)
    return crc


def append(data: bytes | memoryview, descriptor: int) -> None:
    """Append bytes to a file, all of them."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    import hashlib  # it loads OpenSSL, which whoever only looks need not wait for

    digest = hashlib.sha256()
    view = memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(view):
            digest.update(view[:count])
    return digest.hexdigest()
