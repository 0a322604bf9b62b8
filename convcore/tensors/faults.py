"""Turning what is wrong with a file's bytes into one printable ``SourceError``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convcore.errors import SourceError
from convcore.escape import printable

DOWNLOAD_AGAIN = "the file is damaged or was not written by torch: fetch or save it again"
_LONGEST = 300


class Malformed(Exception):
    """Bytes that break a rule of their format, before file, record and offset are known.

    Args:
        what: What is wrong, without the place.
        remedy: What the user can do.
        kind: ``unsafe`` for what looks like an attack on the reader.
        seen: Further evidence.
    """

    def __init__(
        self,
        what: str,
        remedy: str = DOWNLOAD_AGAIN,
        *,
        kind: str | None = None,
        seen: Iterable[str] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.kind = kind
        self.seen = tuple(seen)

    def at(self, file: object, record: str = "", offset: int | None = None) -> SourceError:
        """The same fault with its place: ``<file>: <record> at offset <n>: <what>``."""
        place = printable(str(file), _LONGEST)
        if record:
            place += f": {printable(record, _LONGEST)}"
        if offset is not None:
            place += f" at offset {offset}"
        seen = [printable(item, 160) for item in self.seen[:8]]
        if len(self.seen) > 8:
            seen.append(f"and {len(self.seen) - 8} more")
        return SourceError(
            f"{place}: {printable(self.what, 600)}", seen=seen, remedy=self.remedy, kind=self.kind
        )


def shown(value: Any) -> str:
    """A value of a file, short, for a message; of a container only its type.

    A container's own text may be exponentially long, where it holds itself or shared parts.
    """
    if type(value) is int:
        return str(value) if abs(value) < 1 << 128 else "a huge integer"
    if type(value) in (str, bytes):
        return repr(value[:60])
    if value is None or type(value) in (bool, float, complex):
        return repr(value)
    return f"a {type(value).__name__}"
