"""Building hostile files byte by byte; the oracle of what they do elsewhere is CPython itself."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import attrs

MAGIC = 0x1950A86A20F9469CFC6C
STOP, MARK, REDUCE, TUPLE, EMPTY, BUILD, PERSID, POP = (
    b".",
    b"(",
    b"R",
    b"t",
    b")",
    b"b",
    b"Q",
    b"0",
)


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """LONG1, whatever the size."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *args: bytes) -> bytes:
    """GLOBAL, a tuple of arguments, REDUCE."""
    return name(module, attribute) + MARK + b"".join(args) + TUPLE + REDUCE


def tuple_of(*parts: bytes) -> bytes:
    """MARK … TUPLE."""
    return MARK + b"".join(parts) + TUPLE


def mapping(**items: bytes) -> bytes:
    """A dictionary with text keys."""
    return b"}" + MARK + b"".join(text(key) + value for key, value in items.items()) + b"u"


def pickled(body: bytes, protocol: int = 2) -> bytes:
    """PROTO … STOP."""
    return b"\x80" + bytes([protocol]) + body + STOP


def storage(
    key: bytes | str = "0", count: Any = 4, kind: bytes = name("torch", "FloatStorage")
) -> bytes:
    """The persistent id of a storage."""
    key = text(key) if isinstance(key, str) else key
    count = number(count) if isinstance(count, int) else count
    return tuple_of(text("storage"), kind, key, text("cpu"), count) + PERSID


def sizes(*values: Any) -> bytes:
    """A tuple of integers, or of whatever opcodes are given."""
    return tuple_of(*(number(value) if isinstance(value, int) else value for value in values))


def tensor(
    of: bytes | None = None,
    offset: Any = 0,
    shape: Any = (4,),
    stride: Any = (1,),
    *more: bytes,
    function: str = "_rebuild_tensor_v2",
) -> bytes:
    """A tensor over a storage of four floats."""
    return call(
        "torch._utils",
        function,
        storage() if of is None else of,
        number(offset) if isinstance(offset, int) else offset,
        sizes(*shape) if isinstance(shape, tuple) else shape,
        sizes(*stride) if isinstance(stride, tuple) else stride,
        *(more or (b"\x89", call("collections", "OrderedDict"))),
    )


def payload(marker: object) -> bytes:
    """What a real attack would hold: elsewhere, unpickling it creates the marker file."""
    return call("os", "system", text(f"touch {marker}"))


@attrs.define
class Entry:
    """One record of an archive, and the lies told about it.

    Attributes:
        local: Fields of the local header that differ: ``name``, ``crc``, ``size``, ``method`` …
        central: Fields of the directory that differ.
    """

    name: str
    data: bytes
    method: int = 0
    extra: bytes = b""
    local: dict[str, Any] = attrs.field(factory=dict)
    central: dict[str, Any] = attrs.field(factory=dict)


def archive(entries: list[Entry], *, before: bytes = b"", after: bytes = b"", **end: int) -> bytes:
    """A zip archive, written without any of zipfile's care."""
    out, directory = bytearray(before), bytearray()
    for entry in entries:
        packed = entry.data
        if entry.method == 8:
            engine = zlib.compressobj(9, zlib.DEFLATED, -15)
            packed = engine.compress(entry.data) + engine.flush()
        facts = {
            "name": entry.name.encode(), "flags": 0, "method": entry.method,
            "crc": zlib.crc32(entry.data), "packed": len(packed), "size": len(entry.data),
            "header": len(out), "made_by": 0, "attributes": 0,
        }  # fmt: skip
        near, far = facts | entry.local, facts | entry.central
        out += struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, near["flags"], near["method"], 0, 0, near["crc"],
            near["packed"], near["size"], len(near["name"]), 0,
        )  # fmt: skip
        out += near["name"] + packed
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", far["made_by"], 20, far["flags"], far["method"], 0, 0,
            far["crc"], far["packed"], far["size"], len(far["name"]), len(entry.extra), 0, 0, 0,
            far["attributes"], far["header"],
        )  # fmt: skip
        directory += far["name"] + entry.extra
    facts = {
        "disk": 0, "first_disk": 0, "here": len(entries), "count": len(entries),
        "length": len(directory), "start": len(out), "comment": 0, **end,
    }  # fmt: skip
    out += directory + struct.pack("<4s4H2LH", b"PK\5\6", *facts.values())
    return bytes(out + after)


FLOATS = struct.pack("<4f", 1, 2, 3, 4)


def checkpoint(pickle: bytes, *more: Entry, **options: Any) -> bytes:
    """A zip checkpoint with one storage of four floats."""
    entries = [Entry("m/data.pkl", pickle), Entry("m/data/0", FLOATS), *more]
    return archive(entries, **options)


def legacy(
    pickle: bytes, keys: bytes = b"]" + text("0") + b"a", tail: bytes | None = None
) -> bytes:
    """A legacy stream with one storage of four floats."""
    tail = struct.pack("<q", 4) + FLOATS if tail is None else tail
    system = mapping(protocol_version=number(1001), little_endian=b"\x88")
    heads = pickled(number(MAGIC)) + pickled(number(1001)) + pickled(system)
    return heads + pickle + pickled(keys) + tail


def tar(**members: bytes) -> bytes:
    """A tar of plain members; a name may carry a type flag after ``|``."""
    out = b""
    for label, data in members.items():
        member, _, flag = label.partition("|")
        header = bytearray(512)
        header[: len(member)] = member.encode()
        header[100:136] = b"0000644\0000000000\0000000000\0%011o\0" % len(data)
        header[148:157] = b" " * 8 + (flag or "0").encode()
        header[257:265] = b"ustar\00000"
        header[148:156] = b"%06o\0 " % sum(header)
        out += bytes(header) + data + bytes(-len(data) % 512)
    return out + bytes(1024)


def safetensors(header: str | bytes, data: bytes = b"") -> bytes:
    """A header of any text before the data."""
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header)) + header + data
