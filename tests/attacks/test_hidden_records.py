"""What an archive holds besides its directory's records is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
import torch

from convcore.errors import SourceError
from convcore.formats import open_archive
from tests.attacks.assembler import FLOATS, Entry, archive, mapping, pickled, tensor

PICKLE = Entry("m/data.pkl", pickled(mapping(w=tensor())))
DATA = Entry("m/data/0", FLOATS)


def _with_local_extra(extra: bytes) -> bytes:
    """Give the last record's own header an extra field that the directory does not have."""
    plain = archive([PICKLE, DATA])
    at = plain.rindex(b"PK\3\4")
    head = bytearray(plain[at : at + 30])
    head[28:30] = struct.pack("<H", len(extra))
    name_end = at + 30 + len(DATA.name)
    grown = plain[:at] + bytes(head) + plain[at + 30 : name_end] + extra + plain[name_end:]
    end = bytearray(grown[-22:])
    end[16:20] = struct.pack("<L", struct.unpack("<L", end[16:20])[0] + len(extra))
    return grown[:-22] + bytes(end)


def _between(data: bytes) -> bytes:
    """Put bytes between the two records, and move what the directory says accordingly."""
    first = archive([PICKLE])
    gap = first[: first.index(b"PK\1\2")]
    return _moved(gap, data)


def _moved(first: bytes, data: bytes) -> bytes:
    rest = archive([DATA])
    local, directory = rest[: rest.index(b"PK\1\2")], rest[rest.index(b"PK\1\2") : -22]
    own = archive([PICKLE])
    listed = own[own.index(b"PK\1\2") : -22]
    moved = bytearray(directory)
    moved[42:46] = struct.pack("<L", len(first) + len(data))
    start = len(first) + len(data) + len(local)
    both = listed + bytes(moved)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(both), start, 0)
    return first + data + local + both + end


_HIDDEN = archive([Entry("m/data/9", b"evil")])
RENAMING = struct.pack("<HHBL", 0x7075, 9, 1, zlib.crc32(b"m/data/0")) + b"evil"
FAULTS = {
    "a record that the directory leaves out": _between(_HIDDEN[: _HIDDEN.index(b"PK\1\2")]),
    "bytes between two records": _between(b"#!/bin/sh\n"),
    "flags that differ": archive([PICKLE, Entry("m/data/0", FLOATS, local={"flags": 0x800})]),
    "a file that is marked as a folder": archive(
        [PICKLE, Entry("m/data/0", FLOATS, central={"attributes": 0x10})]
    ),
    "a field that renames the record": _with_local_extra(RENAMING),
}


@pytest.mark.parametrize("data", FAULTS.values(), ids=FAULTS.keys())
def test_what_a_streaming_tool_would_read_differently_is_refused(
    data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(data)

    with pytest.raises(SourceError) as caught:
        open_archive(path)

    assert "record" in str(caught.value)


def test_padding_and_descriptors_as_torch_writes_them_are_read(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3), "v": torch.zeros(200)}, tmp_path / "torch.pt")
    (tmp_path / "padded.pt").write_bytes(_with_local_extra(b"FB\x03\x00ZZZ"))

    names = {name: [*open_archive(tmp_path / name).tree] for name in ("torch.pt", "padded.pt")}

    assert names == {"torch.pt": ["w", "v"], "padded.pt": ["w"]}
