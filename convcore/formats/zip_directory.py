"""The directory at the end of a zip archive, read strictly.

Source: PKWARE's APPNOTE.TXT 6.3, sections 4.3.12 to 4.3.16 and 4.5.3.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from convcore.formats.budgets import Budgets
from convcore.tensors.byte_source import ByteSource
from convcore.tensors.faults import Malformed

_END = Struct("<4s4H2LH")
_END64_LOCATOR = Struct("<4sLQL")
_END64 = Struct("<4sQ2H2L4Q")
_CENTRAL = Struct("<4s6H3L5H2L")
_MAX32, _MAX16 = 0xFFFFFFFF, 0xFFFF
_FOLDER = 0x10  # as DOS marks one (APPNOTE 4.4.15)
ENCRYPTED = 0x1 | 0x40 | 0x2000
TWO_TOOLS = "two programs would read it differently: save the checkpoint again with torch.save"


class Entry(NamedTuple):
    """One line of the directory."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int


def find_directory(file: ByteSource) -> tuple[int, int, int]:
    """Position, length and number of entries of the directory.

    Raises:
        Malformed: There is none, or something lies around it that does not belong.
    """
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
            raise Malformed("the ZIP64 locator points elsewhere", TWO_TOOLS)
        mark, size64, _, _, disk64, first64, here64, count64, length64, start64 = _END64.unpack(
            file.read(end64, _END64.size)
        )
        if mark != b"PK\6\6" or size64 != _END64.size - 12:
            raise Malformed("the ZIP64 directory end is damaged", TWO_TOOLS)
        for narrow, wide, limit in (
            (disk, disk64, _MAX16), (first_disk, first64, _MAX16), (here, here64, _MAX16),
            (count, count64, _MAX16), (length, length64, _MAX32), (start, start64, _MAX32),
        ):  # fmt: skip
            if narrow not in (limit, wide):
                raise Malformed("the two directory ends differ", TWO_TOOLS)
        disk, first_disk, here, count, length, start = (
            disk64, first64, here64, count64, length64, start64,
        )  # fmt: skip
    if disk or first_disk or here != count or comment:
        raise Malformed("the archive is one of several parts, or has a comment", TWO_TOOLS)
    if start + length != end:
        raise Malformed("bytes lie between the directory and its end, or before it", TWO_TOOLS)
    return start, length, count


def read_entries(directory: bytes, count: int, budgets: Budgets) -> list[Entry]:
    """Read the lines of a directory.

    Raises:
        Malformed: They are damaged, or describe what torch never writes.
    """
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
            size, packed, header = widened(extra, size, packed, header)
        if method not in (0, 8) or flags & ENCRYPTED or disk:
            raise Malformed(f"record {name!r} is encrypted or packed by method {method}")
        if method == 0 and size != packed:
            raise Malformed(f"record {name!r} is {size} bytes and {packed} bytes")
        if size > packed * budgets.inflate_ratio + 64:
            raise Malformed(f"record {name!r} claims to inflate from {packed} to {size} bytes")
        if attributes & _FOLDER and not name.endswith(b"/"):
            # torch reads nothing for it, and leaves the tensor's memory as it found it.
            raise Malformed(f"record {name!r} is marked as a folder", TWO_TOOLS)
        if made_by >> 8 == 3 and (attributes >> 28) not in (0, 4, 8):
            raise Malformed(f"record {name!r} is a link or a device", TWO_TOOLS)
        entries.append(Entry(name, flags, method, crc, packed, size, header))
    if at != len(directory):
        raise Malformed("the directory is longer than its entries")
    return entries


def widened(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Take 64-bit values from the ZIP64 field, for exactly those that did not fit."""
    at, wide = 0, b""
    while at + 4 <= len(extra):
        field = int.from_bytes(extra[at : at + 2], "little")
        length = int.from_bytes(extra[at + 2 : at + 4], "little")
        if at + 4 + length > len(extra) or field == 0x7075 or (field == 1 and wide):
            raise Malformed("an extra field is damaged, doubled or renames its record", TWO_TOOLS)
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
