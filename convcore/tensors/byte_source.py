"""Where bytes come from: read by position, whatever holds them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from convcore.tensors.faults import Malformed

CHANGED = "let whatever writes the file finish, then start again"
# Bytes between two ranges that cost no more to read over than a further call costs.
GAP = 32 << 10
# Read at once where ranges are joined.
WINDOW = 8 << 20
Range = tuple[int, int]  # position, length


class ByteSource(Protocol):
    """Bytes that are only ever read by position, and stay what they were when it was opened."""

    @property
    def name(self) -> str:
        """What messages call it: a path as the user gave it, a URL."""

    @property
    def size(self) -> int:
        """How many bytes it has."""

    @property
    def identity(self) -> Hashable:
        """Equal as long as nothing has changed it."""

    def read(self, position: int, length: int) -> bytes:
        """Read exactly ``length`` bytes at ``position``.

        Raises:
            SourceError: They are not there any more, or cannot be read.
        """

    def read_many(self, ranges: Sequence[Range]) -> list[bytes]:
        """Read several ranges ``(position, length)`` in ascending order, in few calls."""

    def check_unchanged(self) -> None:
        """Compare the source with what was opened; call it before publishing what was made of it.

        Raises:
            SourceError: It changed.
        """


def joined(ranges: Sequence[Range], gap: int = GAP, most: int = WINDOW) -> list[list[Range]]:
    """Group ascending ranges that are read in one call each: small gaps are read over.

    Args:
        ranges: ``(position, length)``, ascending.
        gap: The largest number of bytes to read in vain between two of them.
        most: Bytes of a call that joins several.
    """
    groups: list[list[Range]] = []
    end = 0
    for position, length in ranges:
        if groups and end <= position <= end + gap and position + length - groups[-1][0][0] <= most:
            groups[-1].append((position, length))
        else:
            groups.append([(position, length)])
        end = position + length
    return groups


def read_joined(source: ByteSource, ranges: Sequence[Range]) -> list[bytes]:
    """Read ranges in as few calls as ``joined`` makes of them."""
    found: list[bytes] = []
    for group in joined(ranges):
        first, (last, length) = group[0][0], group[-1]
        data = source.read(first, last + length - first)
        if len(group) == 1:
            found.append(data)
        else:
            found += (data[at - first : at - first + count] for at, count in group)
    return found


class Memory:
    """Bytes that lie in memory: inside a pickle, or inflated.

    Args:
        data: The bytes.
        name: What messages call them.
    """

    __slots__ = ("data", "name")

    def __init__(self, data: bytes, name: str = "memory") -> None:
        self.data = data
        self.name = name

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.data)

    @property
    def identity(self) -> Hashable:
        """The object itself: nobody can change it."""
        return id(self)

    def read(self, position: int, length: int) -> bytes:
        """Read exactly ``length`` bytes; see ``ByteSource.read``."""
        data = self.data[position : position + length]
        if len(data) != length:
            raise _outside(self.name, position, length, len(self.data))
        return data

    def read_many(self, ranges: Sequence[Range]) -> list[bytes]:
        """Read several ranges; see ``ByteSource.read_many``."""
        return [self.read(position, length) for position, length in ranges]

    def check_unchanged(self) -> None:
        """Nothing to compare."""


class Window:
    """A part of another source, as a source of its own: a record that is itself a file.

    Args:
        source: What it is a part of.
        start: Its first byte in there.
        size: How many bytes it has.
        name: What messages call it; as the whole, if not given.

    Raises:
        SourceError: It reaches outside.
    """

    __slots__ = ("name", "size", "source", "start")

    def __init__(self, source: ByteSource, start: int, size: int, name: str | None = None) -> None:
        if not 0 <= start <= start + size <= source.size:
            raise _outside(source.name, start, size, source.size)
        self.source = source
        self.start = start
        self.size = size
        self.name = source.name if name is None else name

    @property
    def identity(self) -> Hashable:
        """That of the whole, and the place in it."""
        return self.source.identity, self.start, self.size

    def read(self, position: int, length: int) -> bytes:
        """Read exactly ``length`` bytes; see ``ByteSource.read``."""
        self._check(position, length)
        return self.source.read(self.start + position, length)

    def read_many(self, ranges: Sequence[Range]) -> list[bytes]:
        """Read several ranges; see ``ByteSource.read_many``."""
        for position, length in ranges:
            self._check(position, length)
        return self.source.read_many([(self.start + at, length) for at, length in ranges])

    def check_unchanged(self) -> None:
        """Compare the whole; see ``ByteSource.check_unchanged``."""
        self.source.check_unchanged()

    def _check(self, position: int, length: int) -> None:
        if not 0 <= position <= position + length <= self.size:
            raise _outside(self.name, position, length, self.size)


def _outside(name: str, position: int, length: int, size: int) -> Exception:
    return Malformed(f"{length} bytes at {position} lie outside its {size} bytes").at(name)
