"""JSON from strangers: what is sound is read, what is odd is refused with its reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from convcore.errors import SourceError
from convcore.formats.bounded_json import read_json

REFUSED = {
    "not-json": (b"{", "no JSON"),
    "empty": (b"", "no JSON"),
    "byte-order-mark": (b"\xef\xbb\xbf{}", "no JSON"),
    "latin-1": (b'{"a": "\xe9"}', "not UTF-8"),
    "nan": (b'{"a": NaN}', "finite"),
    "infinity": (b"[-Infinity]", "finite"),
    "overflowing-float": (b"[1e999]", "finite"),
    "long-integer": (b"[" + b"9" * 21 + b"]", "20 digits"),
    "same-name-twice": (b'{"a": {"b": 1, "b": 2}}', "'b' twice"),
    "too-deep": (b"[" * 202 + b"]" * 202, "200 levels"),
    "far-too-deep": (b'{"a":' * 100_000, "200 levels"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_no_sound_writer_writes_is_refused_with_its_reason(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)

    with pytest.raises(SourceError, match=reason) as caught:
        read_json(path)

    assert caught.value.what.startswith("config.json")


def test_the_largest_things_allowed_are_read_as_the_standard_library_reads_them(
    tmp_path: Path,
) -> None:
    text = json.dumps({"é": [-(10**20 - 1), 1.5e300, None, True, "x" * 1000]})
    text = "[" * 198 + text + "]" * 198  # 200 levels with the two inside
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")

    value = read_json(path)

    assert value == json.loads(text)


def test_a_file_larger_than_allowed_is_refused_with_both_sizes(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps("x" * 100))

    with pytest.raises(SourceError, match="102 bytes, more than 101"):
        read_json(path, largest=101)


def test_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    os.mkfifo(path)

    with pytest.raises(SourceError, match="no regular file"):
        read_json(path)
