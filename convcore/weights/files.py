"""Files that were not there before: created, grown from front to back, hashed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from convcore.archive import LazyTensor
from convcore.errors import VerificationError

# Small enough to stay in the cache, and for the allocator to give the same memory again and again.
PIECE = 64 << 10
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create(path: Path) -> int:
    """Create a file that is not there yet and return its descriptor; links are not followed."""
    return os.open(path, _NEW, 0o666)


def copy(tensor: LazyTensor, descriptor: int) -> int:
    """Append a tensor's bytes (logical order, little endian) to a file; return how many."""
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    tensor.copy_to(descriptor)
    written = os.lseek(descriptor, 0, os.SEEK_CUR) - before
    if written != tensor.nbytes:
        raise VerificationError(
            f"{written:,} bytes were written for a tensor of {tensor.nbytes:,}",
            remedy="run again; the input may have changed while it was read",
        )
    return written


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    view = memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(view):
            digest.update(view[:count])
    return digest.hexdigest()
