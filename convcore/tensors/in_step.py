"""Two tensors' bytes side by side, though their files are read in pieces of different lengths."""

from __future__ import annotations

from collections.abc import Iterator

Piece = bytes | memoryview


def in_step(one: Iterator[Piece], two: Iterator[Piece]) -> Iterator[tuple[Piece, Piece]]:
    """Yield pairs of pieces of one length, cut from two streams; the last pair shows an excess.

    A tensor that lies dense is read in pieces of the size asked for, a strided one in pieces that
    end where its rows do.
    """
    here, there = next(one, b""), next(two, b"")
    while here or there:
        length = min(len(here), len(there)) or max(len(here), len(there))
        yield here[:length], there[:length]
        here, there = here[length:] or next(one, b""), there[length:] or next(two, b"")
