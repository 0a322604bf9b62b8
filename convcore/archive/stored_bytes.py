"""Reading the bytes behind lazy tensors, with memory bounded by the chunk."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from convcore.archive.faults import DOWNLOAD_AGAIN, Malformed
from convcore.archive.lazy import CHUNK, LazyTensor, Storage


def read(storage: Storage, start: int, length: int) -> bytes:
    """Read ``length`` bytes of a storage from ``start`` on."""
    if storage.inline is None and not storage.packed:
        return storage.file.read(storage.position + start, length)
    return b"".join(stretch(storage, start, length, CHUNK))


def stretch(storage: Storage, start: int, length: int, size: int) -> Iterator[bytes | memoryview]:
    """Yield part of a storage in pieces of at most ``size`` bytes."""
    if storage.packed:
        yield from _inflated(storage, start, length, size)
        return
    view = None if storage.inline is None else memoryview(storage.inline)
    for begin in range(start, start + length, size):
        part = min(size, start + length - begin)
        if view is None:
            yield storage.file.read(storage.position + begin, part)
        else:
            yield view[begin : begin + part]


def _inflated(storage: Storage, start: int, length: int, size: int) -> Iterator[bytes]:
    """Inflate from the beginning, which is the only place deflate can be entered.

    All pieces but the last have ``size`` bytes, however the inflated bytes arrive: an element
    must not be cut in two.
    """
    engine = zlib.decompressobj(-15)
    done, wanted, position = 0, start + length, storage.position
    left = storage.packed
    # Inflated a few bytes at a time, what is left of the input would be copied each time.
    most = max(size, 1 << 16)
    held = bytearray()
    while done < wanted:
        if not engine.unconsumed_tail:
            part = min(left, 1 << 16)
            packed = storage.file.read(position, part)
            position, left = position + part, left - part
        else:
            packed = engine.unconsumed_tail
        try:
            plain = engine.decompress(packed, min(most, wanted - done))
        except zlib.error as error:
            raise _damaged(storage, f"cannot be inflated: {error}") from error
        if not plain and (engine.eof or not left):
            raise _damaged(storage, f"inflates to {done} bytes, {storage.nbytes} were declared")
        held += plain[max(0, start - done) :]
        done += len(plain)
        whole = len(held) if done == wanted else len(held) - len(held) % size
        yield from (bytes(held[at : at + size]) for at in range(0, whole, size))
        del held[:whole]


def verify(storage: Storage) -> None:
    """Compare a storage's CRC-32; see ``Storage.verify``."""
    if storage.inline is not None or storage.position in storage.file.checked:
        return
    crc = 0
    for part in stretch(storage, 0, storage.nbytes, CHUNK):
        crc = zlib.crc32(part, crc)
    settle_crc(storage, crc)


def settle_crc(storage: Storage, crc: int) -> None:
    """Compare a CRC-32 with the storage's own; see ``Storage.settle_crc``."""
    if storage.crc is not None and crc != storage.crc:
        raise _damaged(storage, f"has CRC-32 {crc:08x}, {storage.crc:08x} was saved")
    if storage.inline is None:
        storage.file.checked.add(storage.position)


def _damaged(storage: Storage, what: str) -> Exception:
    return Malformed(what, DOWNLOAD_AGAIN).at(storage.file.path, storage.key)


def chunks(tensor: LazyTensor, size: int, *, check: bool) -> Iterator[bytes | memoryview]:
    """Yield a tensor's elements; see ``LazyTensor.chunks``."""
    storage, item = tensor.storage, tensor.itemsize
    whole = tensor.covers_storage
    if check and not whole:
        storage.verify()
    size = max(item, size - size % item)
    if not tensor.contiguous:
        from convcore.archive.gather import gathered

        yield from gathered(tensor, size)
        return
    crc = 0
    for part in stretch(storage, tensor.offset * item, tensor.nbytes, size):
        if check and whole:
            crc = zlib.crc32(part, crc)
        yield part if tensor.plain else _converted(tensor, part)
    if check and whole:
        settle_crc(storage, crc)


def _converted(tensor: LazyTensor, part: bytes | memoryview) -> bytes:
    from convcore.archive.gather import converted

    return converted(tensor, part)
