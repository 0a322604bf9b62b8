"""Files inside zip and tar archives, opened where they lie: nothing is unpacked to the disk.

Source: PKWARE's APPNOTE.TXT 6.3 for zip; POSIX.1-2017 ``pax`` (ustar and extended headers) and GNU
tar's ``@LongLink`` for tar.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from convcore.formats.budgets import Budgets
from convcore.formats.location import Location
from convcore.formats.marks import BLOCK, checksum_fits, is_tar, is_zip, octal
from convcore.formats.zip_records import Record, read_directory
from convcore.tensors.byte_source import ByteSource, Memory, Window
from convcore.tensors.faults import DOWNLOAD_AGAIN, Malformed

MEMBER_LIMIT = 2 << 30  # bytes of a deflated member, which has to go through memory
_HEADERS = 1 << 20  # bytes of one long name or extended header
_FILES = (b"0", b"\0", b"7")
_STEP = 1 << 20


class Member:
    """One file of an archive, as a location of its own.

    Args:
        container: Where the archive lies.
        name: Of the file in there.
        budgets: How many members there may be.
        limit: Bytes that a deflated member may have.

    Attributes:
        container: Where the archive lies.
        path_inside: The whole name in there.
    """

    __slots__ = ("_budgets", "_limit", "_source", "container", "path_inside")

    def __init__(
        self, container: Location, name: str, budgets: Budgets, limit: int = MEMBER_LIMIT
    ) -> None:
        self.container = container
        self.path_inside = name
        self._budgets = budgets
        self._limit = limit
        self._source: ByteSource | None = None

    def __str__(self) -> str:
        return f"{self.container}: {self.path_inside}"

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path_inside.rpartition("/")[2]

    @property
    def parent(self) -> Location:
        """What lies beside the archive is all that is known to belong to it."""
        return self.container.parent

    def child(self, name: str) -> Member:
        """A file has none; the name is looked up below its own, and will not be there."""
        return Member(self.container, f"{self.path_inside}/{name}", self._budgets, self._limit)

    def list(self) -> Sequence[Location]:
        """A file holds no others."""
        return []

    def exists(self) -> bool:
        """Whether the archive has such a member."""
        return self.path_inside in member_names(self.container.open(), self._budgets)

    def is_folder(self) -> bool:
        """It is a file."""
        return False

    def open(self) -> ByteSource:
        """Its bytes; see ``open_member``."""
        if self._source is None:
            try:
                self._source = open_member(
                    self.container.open(), self.path_inside, self._budgets, limit=self._limit
                )
            except Malformed as fault:
                raise fault.at(self.container) from fault
        return self._source

    def read_json(self, largest: int | None = None) -> Any:
        """What it holds as JSON; see ``Location.read_json``."""
        from convcore.formats.bounded_json import LARGEST, json_of  # json is seldom needed

        source, most = self.open(), largest or LARGEST
        return json_of(source.read(0, min(source.size, most + 1)), self.name, largest=most)


def is_container(head: bytes) -> bool:
    """Whether a file is a zip or a tar archive, by its first bytes."""
    return is_zip(head) or is_tar(head)


def member_names(source: ByteSource, budgets: Budgets) -> tuple[str, ...]:
    """Names of the files in an archive, in its order.

    Raises:
        Malformed: It is damaged, readable in two ways, or no archive.
    """
    return tuple(_members(source, budgets))


def open_member(
    source: ByteSource, name: str, budgets: Budgets, *, limit: int = MEMBER_LIMIT
) -> ByteSource:
    """Return one file of an archive as a source of its own.

    A stored member is a window of the archive; a deflated one goes through memory.

    Args:
        source: The archive.
        name: As ``member_names`` gives it.
        budgets: How many members there may be.
        limit: Bytes that a deflated member may have.

    Raises:
        Malformed: There is no such member, it is damaged, or larger than the limit.
    """
    members = _members(source, budgets)
    if name not in members:
        raise Malformed(
            f"has no member {name!r}", "name one of those it has", seen=list(members)[:20]
        )
    found = members[name]
    label = f"{source.name}: {name}"
    if isinstance(found, Record):
        if found.deflated:
            return Memory(_inflated(source, found, limit), label)
        return Window(source, found.position, found.size, label)
    return Window(source, *found, label)


def _members(
    source: ByteSource, budgets: Budgets
) -> Mapping[str, Record] | Mapping[str, tuple[int, int]]:
    head = source.read(0, min(BLOCK, source.size))
    if is_zip(head):
        return read_directory(source, budgets, one_folder=False)
    if is_tar(head):
        return _tar_members(source, budgets)
    raise Malformed("is neither a zip nor a tar archive", "name the file itself")


def _inflated(source: ByteSource, record: Record, limit: int) -> bytes:
    if record.size > limit:
        raise Malformed(
            f"{record.name} inflates to {record.size} bytes, more than {limit}",
            "unpack it, or raise the limit",
        )
    engine, made, crc = zlib.decompressobj(-15), bytearray(), 0
    try:
        for at in range(0, record.packed, _STEP):
            packed = source.read(record.position + at, min(_STEP, record.packed - at))
            while packed:
                part = engine.decompress(packed, record.size + 1 - len(made))
                made += part
                packed = engine.unconsumed_tail
                if len(made) > record.size or (packed and not part):
                    raise Malformed(f"{record.name} inflates to more than it declares")
    except zlib.error as error:
        raise Malformed(f"{record.name} cannot be inflated: {error}") from error
    if len(made) != record.size or not engine.eof:
        raise Malformed(f"{record.name} does not inflate to the {record.size} bytes it declares")
    crc = zlib.crc32(made)
    if record.crc is not None and crc != record.crc:
        raise Malformed(
            f"{record.name} has CRC-32 {crc:08x}, {record.crc:08x} was saved", DOWNLOAD_AGAIN
        )
    return bytes(made)


def _tar_members(source: ByteSource, budgets: Budgets) -> dict[str, tuple[int, int]]:
    """Position and size of each file; links, devices and folders are passed over."""
    members: dict[str, tuple[int, int]] = {}
    at, longer, wider = 0, None, None
    for _ in range(budgets.zip_entries):
        if at + BLOCK > source.size:
            break
        header = source.read(at, BLOCK)
        if not any(header):
            return members
        size = _number(header[124:136]) if wider is None else wider
        kind, start = header[156:157], at + BLOCK
        if not checksum_fits(header):
            raise Malformed("a tar header is damaged").at(source.name, offset=at)
        if start + size > source.size:
            break
        at = start + -(-size // BLOCK) * BLOCK
        if kind in (b"L", b"x", b"g"):
            if size > _HEADERS:
                raise Malformed(f"a tar header of {size} bytes")
            data = source.read(start, size)
            if kind == b"L":
                longer = data.rstrip(b"\0")
            elif kind == b"x":
                fields = _pax(data)
                longer = fields.get(b"path", longer)
                wider = int(fields[b"size"][:20]) if b"size" in fields else None
            continue
        name = longer or _ustar_name(header)
        longer, wider = None, None
        if kind in _FILES:
            text = name.decode("utf-8", "backslashreplace").removeprefix("./")
            if text in members:
                raise Malformed(f"has the member {text[:80]!r} twice")
            members[text] = start, size
    else:
        raise Malformed(f"has more than {budgets.zip_entries} members")
    raise Malformed(
        f"the tar is cut short at offset {source.size}", "download or copy the file again"
    )


def _ustar_name(header: bytes) -> bytes:
    name, prefix = header[:100].split(b"\0")[0], header[345:500].split(b"\0")[0]
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _number(field: bytes) -> int:
    if field[:1] == b"\x80":  # GNU: binary, where octal digits do not suffice
        return int.from_bytes(field[1:], "big")
    return octal(field)


def _pax(data: bytes) -> dict[bytes, bytes]:
    """The ``length key=value`` lines of an extended header."""
    fields: dict[bytes, bytes] = {}
    while data:
        digits, _, rest = data.partition(b" ")
        if not digits.isdigit() or len(digits) > 7 or not len(digits) < int(digits) <= len(data):
            raise Malformed("an extended tar header is damaged")
        key, mark, value = rest[: int(digits) - len(digits) - 1].partition(b"=")
        if not mark or not value.endswith(b"\n"):
            raise Malformed("an extended tar header is damaged")
        fields[key], data = value[:-1], data[int(digits) :]
    if b"size" in fields and not fields[b"size"].isdigit():
        raise Malformed("an extended tar header is damaged")
    return fields
