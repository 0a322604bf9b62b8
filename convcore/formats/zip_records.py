"""The records of a zip archive: nothing hidden, doubled, overlapping or renamed.

Source: PKWARE's APPNOTE.TXT 6.3, section 4.3.7.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import NamedTuple

from convcore.formats.budgets import Budgets
from convcore.formats.zip_directory import (
    TWO_TOOLS,
    Entry,
    find_directory,
    read_entries,
    widened,
)
from convcore.tensors.byte_source import ByteSource
from convcore.tensors.faults import DOWNLOAD_AGAIN, Malformed

_LOCAL = Struct("<4s5H3L2H")
_MAX32 = 0xFFFFFFFF
_HAS_DESCRIPTOR = 0x8
_DESCRIPTORS = (0, 12, 16, 20, 24)  # with or without a mark, with 32 or 64 bits
_RENAMES = b"up"  # the field that gives a record another name (APPNOTE 4.6.9)
_NEAR, _AHEAD = 4096, 1 << 16
_ALIGNING = 64  # torch pads the extra field of a record's own header up to this


class Record(NamedTuple):
    """One file in an archive: its name, where its bytes lie, and their CRC-32 if it is known."""

    name: str
    position: int
    size: int
    packed: int
    deflated: bool
    crc: int | None


def read_directory(
    file: ByteSource, budgets: Budgets, *, one_folder: bool = True
) -> dict[str, Record]:
    """Return the records of an archive by name, in the order of the directory.

    Args:
        file: The archive.
        budgets: How many records there may be.
        one_folder: Whether records of several folders are two archives that were joined.

    Raises:
        Malformed: The archive is damaged, or readable in two ways.
    """
    start, length, count = find_directory(file)
    if count > budgets.zip_entries or length > budgets.zip_entries * 200 or count * 46 > length:
        raise Malformed(f"the directory says {count} entries in {length} bytes")
    entries = read_entries(file.read(start, length), count, budgets)
    _check_names(entries, one_folder=one_folder)
    # torch.serialization.set_crc32_options(False) writes a zero in the place of every checksum.
    unchecked = not any(entry.crc for entry in entries)
    records: dict[str, Record] = {}
    headers = _Ahead(file, start)
    reached = 0
    gaps: tuple[int, ...] = (0,)
    for entry in sorted(entries, key=lambda entry: entry.header):
        # What the directory leaves out would be a record to a tool that reads from the front.
        if entry.header - reached not in gaps and entry.header < start:
            raise Malformed(
                f"record {_text(entry.name)} overlaps another or follows foreign bytes", TWO_TOOLS
            )
        position = _check_local(headers, entry, start)
        reached = position + entry.packed
        gaps = _DESCRIPTORS if entry.flags & _HAS_DESCRIPTOR else (0,)
        if reached > start:
            raise Malformed(f"record {_text(entry.name)} reaches into the directory")
        name = _text(entry.name)
        if not name.endswith("/"):
            records[name] = Record(
                name,
                position,
                entry.size,
                entry.packed,
                entry.method == 8,
                None if unchecked else entry.crc,
            )
    if start - reached not in gaps:
        raise Malformed("foreign bytes lie before the directory", TWO_TOOLS)
    return {name: records[name] for entry in entries if (name := _text(entry.name)) in records}


def _text(name: bytes) -> str:
    return name.decode()


def _check_names(entries: list[Entry], *, one_folder: bool) -> None:
    names = [entry.name for entry in entries]
    joined = b"\0".join(names)
    if not joined.isascii() or b"\\" in joined or joined.count(b"\0") != max(0, len(names) - 1):
        for name in names:
            text = _checked(name)
            if "\\" in text or "\0" in text:
                raise Malformed(f"the record name {text!r} is not portable", TWO_TOOLS)
    for name in names:
        if b".." in name or name[:1] == b"/":
            parts = name.split(b"/")
            if b".." in parts or not parts[0]:
                raise Malformed(f"the record name {name!r} leaves its archive", TWO_TOOLS)
    if len({name.decode().casefold() for name in names}) != len(names):
        raise Malformed("two records have the same name", TWO_TOOLS)
    if one_folder and len({name.split(b"/", 1)[0] for name in names if b"/" in name}) > 1:
        raise Malformed("the records lie in several folders: two archives are joined", TWO_TOOLS)


def _checked(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Malformed(f"the record name {name!r} is not UTF-8", TWO_TOOLS) from None


class _Ahead:
    """Reads what lies near what was read last together with what follows it.

    Small records leave their headers close to one another: one read serves hundreds of them.
    """

    def __init__(self, file: ByteSource, end: int) -> None:
        self._file = file
        self._end = end
        self._data = b""
        self._start = self._next = 0

    def read(self, position: int, length: int) -> bytes:
        inside = position - self._start
        if not 0 <= inside <= inside + length <= len(self._data):
            near = 0 <= position - self._next < _NEAR
            wanted = max(length, min(_AHEAD, self._end - position)) if near else length
            self._data, self._start, inside = self._file.read(position, wanted), position, 0
        self._next = position + length
        return self._data[inside : inside + length]


def _check_local(file: _Ahead, entry: Entry, directory: int) -> int:
    """Compare a record's own header with the directory; return where its bytes begin."""
    length = _LOCAL.size + len(entry.name)
    if entry.header + length > directory:
        raise Malformed(f"record {_text(entry.name)} lies outside the file")
    data = file.read(entry.header, min(length + _ALIGNING, directory - entry.header))
    mark, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack_from(
        data
    )
    if (
        mark != b"PK\3\4"
        or data[_LOCAL.size : length] != entry.name
        or name_length != len(entry.name)
        or method != entry.method
        or flags != entry.flags
    ):
        raise Malformed(f"record {_text(entry.name)} and the directory differ", TWO_TOOLS)
    extra = data[length : length + extra_length]
    if len(extra) < extra_length:
        extra = file.read(
            entry.header + length, min(extra_length, directory - entry.header - length)
        )
    if size == _MAX32 or packed == _MAX32 or _RENAMES in extra:
        size, packed, _ = widened(extra, size, packed, 0)
    if (crc, packed, size) != (entry.crc, entry.packed, entry.size) and not (
        flags & _HAS_DESCRIPTOR and (crc, packed, size) == (0, 0, 0)
    ):
        raise Malformed(f"record {_text(entry.name)} and the directory differ", TWO_TOOLS)
    return entry.header + length + int(extra_length)


def read_record(file: ByteSource, record: Record, most: int) -> bytes:
    """Read one record whole and compare its CRC-32.

    Raises:
        Malformed: It is larger than ``most`` bytes, or not what was saved.
    """
    size = max(record.size, record.packed - (1 << 16))  # deflate may add a little
    if size > most:
        raise Malformed(f"is {size} bytes, more than {most}")
    data = file.read(record.position, record.packed)
    if record.deflated:
        engine = zlib.decompressobj(-15)
        try:
            data = engine.decompress(data, record.size + 1)
        except zlib.error as error:
            raise Malformed(f"cannot be inflated: {error}") from error
        if len(data) != record.size or not engine.eof or engine.unused_data:
            raise Malformed(f"does not inflate to the {record.size} bytes it declares")
    if record.crc is not None and zlib.crc32(data) != record.crc:
        raise Malformed(
            "its CRC-32 is wrong: the bytes are not those that were saved", DOWNLOAD_AGAIN
        )
    return data
