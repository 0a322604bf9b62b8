"""Reading a zip archive's directory strictly: nothing hidden, doubled, overlapping or renamed.

Source: PKWARE's APPNOTE.TXT 6.3, sections 4.3 and 4.5.
"""

from __future__ import annotations

import zlib
from struct import Struct

import attrs

from convcore.archive.budgets import Budgets
from convcore.archive.faults import DOWNLOAD_AGAIN, Malformed
from convcore.archive.source_file import SourceFile

_END = Struct("<4s4H2LH")
_END64_LOCATOR = Struct("<4sLQL")
_END64 = Struct("<4sQ2H2L4Q")
_CENTRAL = Struct("<4s6H3L5H2L")
_LOCAL = Struct("<4s5H3L2H")
_MAX32, _MAX16 = 0xFFFFFFFF, 0xFFFF
_HAS_DESCRIPTOR, _ENCRYPTED = 0x8, 0x1 | 0x40 | 0x2000
_TWO_TOOLS = "two programs would read it differently: save the checkpoint again with torch.save"


@attrs.frozen(eq=False)
class Record:
    """One file in an archive: its name, and where its bytes lie."""

    name: str
    position: int
    size: int
    packed: int
    deflated: bool
    crc: int


@attrs.frozen
class _Entry:
    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int


def read_directory(file: SourceFile, budgets: Budgets) -> dict[str, Record]:
    """Return the records of an archive by name, in the order of the directory.

    Raises:
        Malformed: The archive is damaged, or readable in two ways.
    """
    start, length, count = _find_directory(file)
    if count > budgets.zip_entries or length > budgets.zip_entries * 200 or count * 46 > length:
        raise Malformed(f"the directory says {count} entries in {length} bytes")
    entries = _entries(file.read(start, length), count, budgets)
    _check_names(entries)
    records: dict[str, Record] = {}
    reached = 0
    for entry in sorted(entries, key=lambda entry: entry.header):
        if entry.header < reached or (not reached and entry.header):
            raise Malformed(
                f"record {_text(entry.name)} overlaps another or follows foreign bytes", _TWO_TOOLS
            )
        position = _check_local(file, entry, start)
        reached = position + entry.packed
        if reached > start:
            raise Malformed(f"record {_text(entry.name)} reaches into the directory")
        name = _text(entry.name)
        if not name.endswith("/"):
            records[name] = Record(
                name, position, entry.size, entry.packed, entry.method == 8, entry.crc
            )
    return {name: records[name] for entry in entries if (name := _text(entry.name)) in records}


def _text(name: bytes) -> str:
    return name.decode()


def _find_directory(file: SourceFile) -> tuple[int, int, int]:
    """Position, length and number of entries of the central directory."""
    tail_at = max(0, file.size - _END.size - _END64_LOCATOR.size)
    tail = file.read(tail_at, file.size - tail_at)
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\5\6":
        raise Malformed(
            f"the archive has no directory at its end: it is cut short at offset {file.size},"
            " or other bytes follow it",
            "download or copy the file again",
        )
    _, disk, first_disk, here, count, length, start, comment = _END.unpack(tail[-_END.size :])
    end = file.size - _END.size
    locator = tail[: -_END.size]
    if locator[:4] == b"PK\6\7" and len(locator) == _END64_LOCATOR.size:
        _, _, end64, _ = _END64_LOCATOR.unpack(locator)
        end = file.size - _END.size - _END64_LOCATOR.size - _END64.size
        if end64 != end or end < 0:
            raise Malformed("the ZIP64 locator points elsewhere", _TWO_TOOLS)
        mark, size64, _, _, disk64, first64, here64, count64, length64, start64 = _END64.unpack(
            file.read(end64, _END64.size)
        )
        if mark != b"PK\6\6" or size64 != _END64.size - 12:
            raise Malformed("the ZIP64 directory end is damaged", _TWO_TOOLS)
        for narrow, wide, limit in (
            (disk, disk64, _MAX16), (first_disk, first64, _MAX16), (here, here64, _MAX16),
            (count, count64, _MAX16), (length, length64, _MAX32), (start, start64, _MAX32),
        ):  # fmt: skip
            if narrow not in (limit, wide):
                raise Malformed("the two directory ends differ", _TWO_TOOLS)
        disk, first_disk, here, count, length, start = (
            disk64, first64, here64, count64, length64, start64,
        )  # fmt: skip
    if disk or first_disk or here != count or comment:
        raise Malformed("the archive is one of several parts, or has a comment", _TWO_TOOLS)
    if start + length != end:
        raise Malformed("bytes lie between the directory and its end, or before it", _TWO_TOOLS)
    return start, length, count


def _entries(directory: bytes, count: int, budgets: Budgets) -> list[_Entry]:
    entries, at = [], 0
    for _ in range(count):
        if at + _CENTRAL.size > len(directory):
            raise Malformed("the directory is shorter than its entries")
        (
            mark, made_by, _, flags, method, _, _, crc, packed, size,
            name_length, extra_length, comment_length, disk, _, attributes, header,
        ) = _CENTRAL.unpack_from(directory, at)  # fmt: skip
        at += _CENTRAL.size
        name = directory[at : at + name_length]
        extra = directory[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        if mark != b"PK\1\2" or not name or at > len(directory):
            raise Malformed("the directory is damaged")
        if name_length > budgets.name_bytes:
            raise Malformed(f"a record name of {name_length} bytes")
        if extra or size == _MAX32 or packed == _MAX32 or header == _MAX32:
            size, packed, header = _widened(extra, size, packed, header)
        if method not in (0, 8) or flags & _ENCRYPTED or disk:
            raise Malformed(f"record {name!r} is encrypted or packed by method {method}")
        if method == 0 and size != packed:
            raise Malformed(f"record {name!r} is {size} bytes and {packed} bytes")
        if size > packed * budgets.inflate_ratio + 64:
            raise Malformed(f"record {name!r} claims to inflate from {packed} to {size} bytes")
        if made_by >> 8 == 3 and (attributes >> 28) not in (0, 4, 8):
            raise Malformed(f"record {name!r} is a link or a device", _TWO_TOOLS)
        entries.append(_Entry(name, flags, method, crc, packed, size, header))
    if at != len(directory):
        raise Malformed("the directory is longer than its entries")
    return entries


def _widened(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Take 64-bit values from the ZIP64 field, for exactly those that did not fit."""
    at, wide = 0, b""
    while at + 4 <= len(extra):
        field = int.from_bytes(extra[at : at + 2], "little")
        length = int.from_bytes(extra[at + 2 : at + 4], "little")
        if at + 4 + length > len(extra) or field == 0x7075 or (field == 1 and wide):
            raise Malformed("an extra field is damaged, doubled or renames its record", _TWO_TOOLS)
        if field == 1:
            wide = extra[at + 4 : at + 4 + length]
        at += 4 + length
    values = [size, packed, header]
    for index, value in enumerate(values):
        if value == _MAX32:
            if len(wide) < 8:
                raise Malformed("a ZIP64 field is missing")
            values[index], wide = int.from_bytes(wide[:8], "little"), wide[8:]
    if max(values) >= 1 << 63:
        raise Malformed("a ZIP64 field holds an impossible size")
    return values[0], values[1], values[2]


def _check_names(entries: list[_Entry]) -> None:
    names = [entry.name for entry in entries]
    joined = b"\0".join(names)
    if not joined.isascii() or b"\\" in joined or joined.count(b"\0") != max(0, len(names) - 1):
        for name in names:
            text = _checked(name)
            if "\\" in text or "\0" in text:
                raise Malformed(f"the record name {text!r} is not portable", _TWO_TOOLS)
    for name in names:
        if b".." in name or name[:1] == b"/":
            parts = name.split(b"/")
            if b".." in parts or not parts[0]:
                raise Malformed(f"the record name {name!r} leaves its archive", _TWO_TOOLS)
    if len({name.decode().casefold() for name in names}) != len(names):
        raise Malformed("two records have the same name", _TWO_TOOLS)
    if len({name.split(b"/", 1)[0] for name in names if b"/" in name}) > 1:
        raise Malformed("the records lie in several folders: two archives are joined", _TWO_TOOLS)


def _checked(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Malformed(f"the record name {name!r} is not UTF-8", _TWO_TOOLS) from None


def _check_local(file: SourceFile, entry: _Entry, directory: int) -> int:
    """Compare a record's own header with the directory; return where its bytes begin."""
    length = _LOCAL.size + len(entry.name)
    if entry.header + length > directory:
        raise Malformed(f"record {_text(entry.name)} lies outside the file")
    data = file.read(entry.header, length)
    mark, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack_from(
        data
    )
    if (
        mark != b"PK\3\4"
        or data[_LOCAL.size :] != entry.name
        or name_length != len(entry.name)
        or method != entry.method
        or (flags ^ entry.flags) & (_ENCRYPTED | _HAS_DESCRIPTOR)
    ):
        raise Malformed(f"record {_text(entry.name)} and the directory differ", _TWO_TOOLS)
    if size == _MAX32 or packed == _MAX32:
        extra = file.read(
            entry.header + length, min(extra_length, directory - entry.header - length)
        )
        size, packed, _ = _widened(extra, size, packed, 0)
    if (crc, packed, size) != (entry.crc, entry.packed, entry.size) and not (
        flags & _HAS_DESCRIPTOR and (crc, packed, size) == (0, 0, 0)
    ):
        raise Malformed(f"record {_text(entry.name)} and the directory differ", _TWO_TOOLS)
    return entry.header + length + int(extra_length)


def read_record(file: SourceFile, record: Record, most: int) -> bytes:
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
    if zlib.crc32(data) != record.crc:
        raise Malformed(
            "its CRC-32 is wrong: the bytes are not those that were saved", DOWNLOAD_AGAIN
        )
    return data
