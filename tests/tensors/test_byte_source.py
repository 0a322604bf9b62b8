"""Bytes are read by position from files, memory and parts of either."""

from __future__ import annotations

from pathlib import Path

import pytest

from convcore.errors import SourceError
from convcore.tensors import LocalFile, Memory, Window
from convcore.tensors.byte_source import GAP, ByteSource, joined

DATA = bytes(range(256)) * 4


@pytest.fixture(params=["file", "memory", "window", "window of a window"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> ByteSource:
    """Sources of ``DATA``."""
    (tmp_path / "plain").write_bytes(DATA)
    (tmp_path / "padded").write_bytes(b"before" + DATA + b"after")
    padded = LocalFile(tmp_path / "padded")
    sources: dict[str, ByteSource] = {
        "file": LocalFile(tmp_path / "plain"),
        "memory": Memory(DATA),
        "window": Window(padded, 6, len(DATA)),
        "window of a window": Window(Window(padded, 3, len(DATA) + 5), 3, len(DATA)),
    }
    return sources[request.param]


def test_every_source_gives_the_same_bytes(source: ByteSource) -> None:
    ranges = [(0, 3), (10, 0), (250, 500), (1020, 4)]

    assert source.size == len(DATA)
    assert [source.read(at, n) for at, n in ranges] == [DATA[at : at + n] for at, n in ranges]
    assert source.read_many(ranges) == [DATA[at : at + n] for at, n in ranges]
    assert source.identity == source.identity
    source.check_unchanged()


def test_bytes_beyond_the_end_are_an_error(source: ByteSource) -> None:
    with pytest.raises(SourceError):
        source.read(len(DATA) - 2, 3)


@pytest.mark.parametrize(("start", "size"), [(-1, 4), (1000, 30), (0, 1025)])
def test_a_window_lies_inside_what_it_is_of(start: int, size: int) -> None:
    with pytest.raises(SourceError, match="outside its 1024 bytes"):
        Window(Memory(DATA), start, size)


def test_ranges_are_joined_over_small_gaps_up_to_a_window() -> None:
    ranges = [(0, 10), (20, 10), (30 + GAP, 10), (41 + 2 * GAP, 10)]

    assert joined(ranges) == [ranges[:3], ranges[3:]]
    assert joined(ranges, gap=9) == [[each] for each in ranges]
    assert joined(ranges, most=30) == [ranges[:2], ranges[2:3], ranges[3:]]
    assert joined([(20, 10), (0, 10), (15, 10)]) == [[(20, 10)], [(0, 10), (15, 10)]]
