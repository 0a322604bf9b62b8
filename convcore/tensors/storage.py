"""Storages: bytes that lie in extents of sources, read with memory bounded by the piece."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Literal

import attrs

from convcore.tensors.byte_source import ByteSource, Range
from convcore.tensors.faults import DOWNLOAD_AGAIN, Malformed

CHUNK = 8 << 20
Piece = bytes | memoryview


@attrs.define(eq=False)
class Extent:
    """Bytes that lie together in one source.

    Attributes:
        source: What holds them.
        position: Offset of the first in the source.
        nbytes: How many there are, inflated.
        crc: CRC-32 of them, where the container has one.
        packed: Deflated size in the source; 0 where they lie there as they are.
        right: Whether their CRC-32 was found right; they are not read again for that.
    """

    source: ByteSource
    position: int
    nbytes: int
    crc: int | None = None
    packed: int = 0
    right: bool = attrs.field(default=False, init=False)

    def pieces(self, start: int, length: int, size: int) -> Iterator[bytes]:
        """Yield part of the extent in pieces of ``size`` bytes, the last one shorter."""
        if self.packed:
            yield from self._inflated(start, length, size)
            return
        for begin in range(start, start + length, size):
            part = min(size, start + length - begin)
            yield self.source.read(self.position + begin, part)

    def _inflated(self, start: int, length: int, size: int) -> Iterator[bytes]:
        """Inflate from the beginning, which is the only place deflate can be entered.

        All pieces but the last have ``size`` bytes, however the inflated bytes arrive: an element
        must not be cut in two.
        """
        engine = zlib.decompressobj(-15)
        done, wanted, position = 0, start + length, self.position
        left = self.packed
        held = bytearray()
        while done < wanted:
            if not engine.unconsumed_tail:
                part = min(left, 1 << 16)
                packed = self.source.read(position, part)
                position, left = position + part, left - part
            else:
                packed = engine.unconsumed_tail
            # Inflated a few bytes at a time, what is left of the input would be copied each time.
            room = max(size - len(held), 1 << 16)
            try:
                plain = engine.decompress(packed, min(room, wanted - done))
            except zlib.error as error:
                raise Malformed(f"cannot be inflated: {error}", DOWNLOAD_AGAIN) from error
            if not plain and (engine.eof or not left):
                raise Malformed(
                    f"inflates to {done} bytes, {self.nbytes} were declared", DOWNLOAD_AGAIN
                )
            asked, done = plain[max(0, start - done) :], done + len(plain)
            if len(asked) == size and not held:
                yield asked
                continue
            held += asked
            whole = len(held) if done == wanted else len(held) - len(held) % size
            with memoryview(held) as view:
                yield from (bytes(view[at : at + size]) for at in range(0, whole, size))
            del held[:whole]

    def settle(self, crc: int) -> None:
        """Compare the CRC-32 that a reading of all bytes gave with the one saved."""
        if self.crc is not None and crc != self.crc:
            raise Malformed(f"has CRC-32 {crc:08x}, {self.crc:08x} was saved", DOWNLOAD_AGAIN)
        self.right = True

    def verify(self) -> None:
        """Read everything once and compare the CRC-32, unless it was found right already."""
        if self.right:
            return
        crc = 0
        for part in self.pieces(0, self.nbytes, CHUNK):
            crc = zlib.crc32(part, crc)
        self.settle(crc)


@attrs.define(eq=False)
class Storage:
    """The bytes of one storage; tensors that share one share this object.

    Attributes:
        extents: Where they lie, in order.
        key: Name of the record, or the key the pickle gives the storage.
        byteorder: Of the elements.
        nbytes: How many there are.
    """

    extents: tuple[Extent, ...]
    key: str = ""
    byteorder: Literal["little", "big"] = "little"
    nbytes: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        one = len(self.extents) == 1  # as nearly always
        self.nbytes = (
            self.extents[0].nbytes if one else sum(extent.nbytes for extent in self.extents)
        )

    @property
    def sources(self) -> tuple[ByteSource, ...]:
        """What holds the bytes, each once."""
        return tuple({id(extent.source): extent.source for extent in self.extents}.values())

    @property
    def name(self) -> str:
        """What messages call the source."""
        return self.extents[0].source.name if self.extents else "memory"

    @property
    def leaves(self) -> tuple[Extent, ...]:
        """The extents that it is read from in the end."""
        return self.extents

    @property
    def crc(self) -> int | None:
        """CRC-32 of all bytes, where they are one extent whose container has it."""
        return self.extents[0].crc if len(self.extents) == 1 else None

    @property
    def sequential(self) -> bool:
        """Whether bytes can only be had by going through those before them (deflated ones)."""
        return any(extent.packed for extent in self.extents)

    def read(self, start: int, length: int) -> bytes:
        """Read bytes of the storage, ``start`` counted from its own beginning.

        Raises:
            SourceError: They are damaged, or not there any more.
        """
        if len(self.extents) == 1 and not self.extents[0].packed:
            extent = self.extents[0]
            return extent.source.read(extent.position + start, length)
        return b"".join(self.pieces(start, length, CHUNK))

    def read_many(self, ranges: Sequence[Range]) -> list[bytes]:
        """Read several ascending ranges ``(start, length)``, in few calls of the source."""
        if len(self.extents) == 1 and not self.extents[0].packed:
            extent = self.extents[0]
            return extent.source.read_many([(extent.position + at, n) for at, n in ranges])
        return [self.read(start, length) for start, length in ranges]

    def pieces(self, start: int, length: int, size: int, *, check: bool = False) -> Iterator[Piece]:
        """Yield part of the storage in pieces of ``size`` bytes, the last one shorter.

        Args:
            start: First byte.
            length: How many.
            size: Bytes of a piece.
            check: Compare the CRC-32 of every extent touched: on the way where all of it is
                yielded, else by reading it before.

        Raises:
            SourceError: Damaged bytes, or fewer than there were.
        """
        try:
            if len(self.extents) == 1:
                yield from _checked(self.extents[0], start, length, size, check=check)
                return
            yield from regrouped(self._across(start, length, size, check=check), size)
        except Malformed as fault:
            raise fault.at(self.name, self.key) from fault

    def _across(self, start: int, length: int, size: int, *, check: bool) -> Iterator[Piece]:
        """Yield part of the storage, extent by extent."""
        begins = [0, *accumulate(extent.nbytes for extent in self.extents)]
        index, end = bisect_right(begins, start) - 1, start + length
        while start < end:
            inside = start - begins[index]
            part = min(self.extents[index].nbytes - inside, end - start)
            if part > 0:
                yield from _checked(self.extents[index], inside, part, size, check=check)
            start, index = start + max(part, 0), index + 1

    def settle(self, crc: int) -> None:
        """Compare the CRC-32 that a reading of the whole storage gave with the one saved.

        Raises:
            SourceError: They differ.
        """
        (extent,) = self.extents  # of several, nothing is known of the whole
        try:
            extent.settle(crc)
        except Malformed as fault:
            raise fault.at(self.name, self.key) from fault

    def verify(self) -> None:
        """Read what was not found right yet and compare its CRC-32; without one, only read it.

        Raises:
            SourceError: The bytes are not those that were saved.
        """
        try:
            for extent in self.extents:
                extent.verify()
        except Malformed as fault:
            raise fault.at(self.name, self.key) from fault


def _checked(extent: Extent, start: int, length: int, size: int, *, check: bool) -> Iterator[Piece]:
    whole = length == extent.nbytes
    if check and not whole:
        extent.verify()
    if not check or not whole:
        yield from extent.pieces(start, length, size)
        return
    crc = 0
    for part in extent.pieces(start, length, size):
        crc = zlib.crc32(part, crc)
        yield part
    extent.settle(crc)


def regrouped(parts: Iterator[Piece], size: int) -> Iterator[Piece]:
    """Yield bytes that come in pieces of any length in pieces of ``size``, the last one shorter."""
    held = bytearray()
    for part in parts:
        if not held and len(part) == size:
            yield part
            continue
        at = 0
        while len(held) + len(part) - at >= size:
            taken = size - len(held)
            yield bytes(held) + bytes(part[at : at + taken])
            held.clear()
            at += taken
        held += part[at:]
    if held:
        yield bytes(held)


def stored(
    source: ByteSource,
    key: str,
    position: int,
    nbytes: int,
    crc: int | None = None,
    byteorder: Literal["little", "big"] = "little",
    packed: int = 0,
) -> Storage:
    """Return a storage of one extent; the arguments are those of ``Extent`` and ``Storage``."""
    return Storage((Extent(source, position, nbytes, crc, packed),), key, byteorder)
