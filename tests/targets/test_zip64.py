"""Records and directories beyond 4 GiB, without 4 GiB: offsets are invented, files have holes."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import pytest

from convcore.formats.budgets import DEFAULT_BUDGETS
from convcore.formats.zip_directory import find_directory, read_entries, widened
from convcore.targets.weights import torch_zip
from convcore.targets.weights.files import create
from convcore.tensors.faults import Malformed
from convcore.tensors.local_file import LocalFile

GIB = 1 << 30
FAR = {"below": 4 * GIB - 500, "at the limit": 0xFFFFFFFF, "beyond": 5 * GIB + 3}


def written(path: Path, start: int, hole: int = 0) -> Path:
    """Two records, the first behind a hole in the file, the second behind one of its own."""
    descriptor = create(path)
    os.lseek(descriptor, start, os.SEEK_SET)
    archive = torch_zip._Zip(descriptor)
    archive._size = start
    archive.record("first", b"one")
    archive._begin("hole", hole, 0)
    os.lseek(descriptor, hole, os.SEEK_CUR)
    archive._size += hole
    archive.record("last", b"the last")
    archive.close()
    os.close(descriptor)
    return path


@pytest.mark.parametrize("start", FAR.values(), ids=FAR)
def test_records_that_begin_far_behind_are_found_by_python_s_reader(
    start: int, tmp_path: Path
) -> None:
    path = written(tmp_path / "far.zip", start)

    with zipfile.ZipFile(path) as archive:
        assert archive.read("archive/first") == b"one"
        assert archive.read("archive/last") == b"the last"
        assert archive.getinfo("archive/first").header_offset == start


@pytest.mark.parametrize("hole", FAR.values(), ids=FAR)
def test_records_of_many_gigabytes_are_found_by_python_s_reader(hole: int, tmp_path: Path) -> None:
    path = written(tmp_path / "large.zip", 100, hole)

    with zipfile.ZipFile(path) as archive:
        assert archive.read("archive/last") == b"the last"
        large = archive.getinfo("archive/hole")
        assert (large.file_size, large.compress_size) == (hole, hole)
    # The record's own header says the same, its sizes widened together (APPNOTE 4.5.3).
    with path.open("rb") as file:
        file.seek(large.header_offset)
        *_, packed, size, name, extra = struct.unpack("<4s5H3L2H", file.read(30))
        file.seek(name, os.SEEK_CUR)
        field = file.read(extra)
    if hole >= 0xFFFFFFFF:
        assert (packed, size) == (0xFFFFFFFF, 0xFFFFFFFF)
        assert struct.unpack("<HHQQ", field[:20]) == (1, 16, hole, hole)
    else:
        assert (packed, size) == (hole, hole)


@pytest.mark.parametrize("count", [0xFFFE, 0xFFFF, 70_000])
def test_the_end_of_a_directory_counts_many_records(count: int, tmp_path: Path) -> None:
    records = [torch_zip._Record(b"archive/%d" % n, 0, 0, 0) for n in range(count)]
    directory = b"".join(map(torch_zip._central, records))
    path = tmp_path / "many.zip"
    path.write_bytes(directory + torch_zip._end(count, len(directory), 0))

    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == count
    assert find_directory(LocalFile(path)) == (0, len(directory), count)


@pytest.mark.parametrize("start", FAR.values(), ids=FAR)
def test_a_directory_far_behind_is_found(start: int, tmp_path: Path) -> None:
    path = written(tmp_path / "far.zip", start)
    with zipfile.ZipFile(path) as archive:
        expected = archive.start_dir, len(archive.infolist())
        offsets = [(e.filename, e.header_offset, e.file_size) for e in archive.infolist()]
    file = LocalFile(path)

    at, length, count = find_directory(file)

    assert (at, count) == expected
    entries = read_entries(file.read(at, length), count, DEFAULT_BUDGETS)
    assert [(e.name.decode(), e.header, e.size) for e in entries] == offsets


SIZE, PACKED, HEADER = 6 * GIB, 5 * GIB, 7 * GIB
WIDE = list(zip((SIZE, PACKED, HEADER), ("size", "packed", "header"), strict=True))


@pytest.mark.parametrize("narrow", [(), ("size",), ("packed",), ("header",), ("size", "header")])
def test_widened_fields_stand_in_the_order_of_the_standard(
    narrow: tuple[str, ...], tmp_path: Path
) -> None:
    """Original size, compressed size, offset, each only where it did not fit (APPNOTE 4.5.3)."""
    values = {
        name: 1000 + index if name in narrow else value for index, (value, name) in enumerate(WIDE)
    }
    if "packed" in narrow:
        values["size"] = 2000  # a record of 6 GiB cannot be packed into 1000 bytes
    wide = [value for value in values.values() if value >= 0xFFFFFFFF]
    field = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide)
    short = {name: min(value, 0xFFFFFFFF) for name, value in values.items()}
    line = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 8, 0, 0, 9, short["packed"], short["size"],
        1, len(field), 0, 0, 0, 0, short["header"],
    ) + b"a" + field  # fmt: skip

    (entry,) = read_entries(line, 1, DEFAULT_BUDGETS)

    assert (entry.size, entry.packed, entry.header) == tuple(values.values())
    # Python's reader agrees: the line in a file that is otherwise a hole.
    path = tmp_path / "line.zip"
    with path.open("wb") as file:
        file.truncate(8 * GIB)
        file.seek(8 * GIB)
        file.write(line + torch_zip._end(1, len(line), 8 * GIB))
    with zipfile.ZipFile(path) as archive:
        (info,) = archive.infolist()
    assert (info.file_size, info.compress_size, info.header_offset) == tuple(values.values())


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (struct.pack("<HHQ", 1, 8, SIZE), "missing"),
        (struct.pack("<HHQQQ", 1, 24, SIZE, PACKED, 1 << 63), "impossible"),
        (struct.pack("<HHQHHQ", 1, 8, SIZE, 1, 8, SIZE), "doubled"),
    ],
)
def test_widened_fields_that_do_not_add_up_are_refused(extra: bytes, words: str) -> None:
    limit = 0xFFFFFFFF

    with pytest.raises(Malformed, match=words):
        widened(extra, limit, limit, limit)
