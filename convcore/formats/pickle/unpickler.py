"""The loop that runs a pickle's opcodes on data; what each opcode does is in its own modules."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.pickle.reading import Reading
from convcore.tensors.byte_source import ByteSource
from convcore.tensors.faults import Malformed

WINDOW = 1 << 16
_STRETCH = 2048
_WHAT_BREAKS = (
    AttributeError, ArithmeticError, IndexError, KeyError, MemoryError, RecursionError, TypeError,
    ValueError, struct.error,
)  # fmt: skip
# Bytes of the arguments of fixed size, which tell a cut pickle from an empty stack.
_ARGUMENT = {
    code: length
    for length, codes in (
        (1, b"KqhUC\x80\x8a\x8c"),
        (2, b"M"),
        (4, b"JrjXBT\x8b"),
        (8, b"G\x8d\x8e\x95\x96"),
    )
    for code in codes
}

Handler = Callable[["Machine", int], int]


class Short(Exception):
    """An argument reaches beyond the bytes in memory."""


class Stopped(Exception):
    """STOP was met; carries the position after it."""


class Paused(Exception):
    """Raw bytes follow the object on top of the stack; carries their position."""


class Machine:
    """One pickle being read.

    Attributes:
        data: The bytes in memory; they may be only the first part of the pickle's file.
        limit: Bytes there are in all, in memory or not.
        stack: Values since the last MARK.
        below: Stacks under the open MARKs.
        memo: Memo entries numbered without a gap, as every pickler writes them.
        sparse: Memo entries with other numbers.
        persistent: Turns a persistent id into a value.
        frame_end: Where the open FRAME ends; 0 where none is open.
        base: Offset of ``data`` in its record.
        source: The file more bytes come from, where ``data`` is only a part.
        pause: Says of an object just built whether raw bytes follow it (joblib).
    """

    __slots__ = (
        "base",
        "below",
        "charged",
        "data",
        "frame_end",
        "limit",
        "memo",
        "pause",
        "persistent",
        "reading",
        "record",
        "source",
        "sparse",
        "stack",
        "table",
        "text_ids",
    )

    def __init__(
        self,
        data: bytes,
        reading: Reading,
        *,
        record: str,
        persistent: Callable[[Any], Any] | None = None,
        source: ByteSource | None = None,
        base: int = 0,
        limit: int | None = None,
    ) -> None:
        from convcore.formats.pickle.opcodes import TABLE

        self.data = data
        self.limit = len(data) if limit is None else limit
        self.source = source
        self.base = base
        self.reading = reading
        self.record = record
        self.persistent = persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: list[Any] = []
        self.sparse: dict[int, Any] = {}
        self.charged = 0
        self.frame_end = 0
        self.text_ids = False
        self.pause: Callable[[Opaque], bool] | None = None
        self.table: list[Handler] = TABLE

    def load(self, start: int = 0) -> tuple[Any, int]:
        """Run from ``start`` to STOP.

        Returns:
            The pickled value and the position after STOP.

        Raises:
            SourceError: The bytes break a rule; the message names the offset.
        """
        try:
            self.run(start, self.limit)
        except Stopped as stop:
            self.audit(0)
            if len(self.stack) != 1 or self.below:
                raise self.fault(stop.args[0], "STOP leaves more than one value") from None
            return self.stack.pop(), stop.args[0]
        raise self.fault(self.limit, "the pickle is cut short before its STOP")

    def run(self, pos: int, end: int) -> int:
        """Run opcodes from ``pos`` until ``end`` is reached or passed."""
        table, count = self.table, 0
        while pos < end:
            data = self.data
            try:
                for count in range(_STRETCH):  # noqa: B007  # read below
                    pos = table[data[pos]](self, pos + 1)
                    if pos >= end:
                        break
                self.audit(count + 1)
            except (Short, IndexError, struct.error) as error:
                self._grow(pos, error)
            except Malformed as error:
                raise self.fault(pos, error) from error
            except _WHAT_BREAKS as error:
                raise self.fault(pos, _told(error)) from error
        return pos

    def _grow(self, pos: int, error: Exception) -> None:
        """Fetch more bytes so that the opcode at ``pos`` can be tried again."""
        have = len(self.data)
        wanted = error.args[0] if isinstance(error, Short) else have + 1
        if not isinstance(error, Short) and pos < have:
            wanted = pos + 1 + _ARGUMENT.get(self.data[pos], 0)
            if wanted <= have:
                raise self.fault(pos, _told(error)) from error
        if wanted > self.limit or self.source is None:
            raise self.fault(
                pos, f"the pickle is cut short at offset {self.base + self.limit}"
            ) from error
        if wanted > self.reading.budgets.pickle_bytes:
            most = self.reading.budgets.pickle_bytes >> 20
            raise self.fault(pos, f"the pickle is larger than {most} MiB") from error
        wanted = min(max(wanted, 4 * have), self.limit, self.reading.budgets.pickle_bytes)
        self.data += self.source.read(self.base + have, wanted - have)

    def resume(self, base: int) -> None:
        """Go on with the bytes of the file from ``base`` on, after raw bytes were passed over."""
        if self.source is None:
            raise Malformed("raw bytes follow an object where there can be none")
        self.base, self.frame_end = base, 0
        self.limit = self.source.size - base
        self.data = self.source.read(base, min(self.limit, WINDOW))

    def fault(self, pos: int, what: str | Malformed) -> Exception:
        """The error for the opcode at ``pos``; an alarm met before it weighs more."""
        reading = self.reading
        try:
            reading.refuse_alarms()
        except Malformed as alarm:
            return alarm.at(reading.file, self.record, self.base + pos)
        fault = what if isinstance(what, Malformed) else Malformed(what)
        return fault.at(reading.file, self.record, self.base + pos)

    def audit(self, opcodes: int) -> None:
        """Account for a stretch of opcodes."""
        reading, budgets = self.reading, self.reading.budgets
        reading.opcodes += opcodes
        reading.charged += self.charged
        self.charged = 0
        reading.audit()
        if len(self.stack) > budgets.stack or len(self.below) > budgets.marks:
            raise Malformed("piles up more values than any real pickle")
        if len(self.memo) + len(self.sparse) > budgets.memo:
            raise Malformed(f"has more than {budgets.memo} memo entries")

    def take_marked(self) -> list[Any]:
        """The values since the last MARK, which is closed."""
        values = self.stack
        if not self.below:
            raise Malformed("there is no MARK")
        self.stack = self.below.pop()
        return values

    def need(self, pos: int, length: int) -> int:
        """Return where an argument ends, once its bytes are known to be in memory."""
        end = pos + length
        if end > len(self.data):
            if end > self.limit:
                raise Malformed(f"an argument of {length} bytes reaches beyond the record")
            raise Short(end)
        return end


def _told(error: Exception) -> str:
    if isinstance(error, KeyError):
        return "takes a memo entry that was never put"
    if isinstance(error, IndexError):
        return "takes more values than the stack holds"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    return f"cannot be read ({type(error).__name__})"
