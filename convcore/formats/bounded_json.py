"""JSON files from strangers, read with every quantity bounded."""

from __future__ import annotations

import math
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from convcore.errors import SourceError
from convcore.tensors.opened import note

LARGEST = 100_000_000
OBJECT_BYTES = 192 << 20
_DEPTH = 200
_DIGITS = 20


def read_json(path: Path, *, largest: int = LARGEST) -> Any:
    """Return what a JSON file holds.

    Args:
        path: A regular file in UTF-8, without a byte order mark.
        largest: Bytes it may have.

    Raises:
        SourceError: It is larger, no regular file, not UTF-8 or no JSON; it nests deeper than 200
            levels, repeats a name within an object, or holds an integer of more than 20 digits or
            a number that is not finite.
        OSError: It cannot be opened.
    """
    # O_NONBLOCK: a named pipe put in the file's place must not hang the reader.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise _refused(path.name, "it is no regular file")
        note(path, facts)
        if facts.st_size > largest:
            raise _refused(path.name, f"it has {facts.st_size:,} bytes, more than {largest:,}")
        # One byte more than allowed, because a file may grow after its size was asked for.
        return json_of(file.read(largest + 1), path.name, largest=largest)


def json_of(content: bytes, name: str, *, largest: int = LARGEST) -> Any:
    """Return what the bytes of a JSON file hold; the rules are those of ``read_json``.

    Raises:
        SourceError: See ``read_json``; it calls the file ``name``.
    """
    if len(content) > largest:
        raise _refused(name, f"it has {len(content):,} bytes, more than {largest:,}")
    if object_bytes(content) > OBJECT_BYTES:
        raise _refused(name, f"its {len(content):,} bytes hold more objects than any such file")
    try:
        return parse_json(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _refused(name, f"it is not UTF-8: {error}") from error
    except ValueError as error:
        raise _refused(name, str(error)) from error


def parse_json(text: str) -> Any:
    """Return what JSON text holds.

    Raises:
        ValueError: As ``read_json`` says; the message begins with "it".
    """
    import json  # only now: reading a checkpoint needs none

    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_number,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(f"it nests deeper than {_DEPTH} levels") from error
    if _deeper_than(_DEPTH, value):
        raise ValueError(f"it nests deeper than {_DEPTH} levels")
    return value


def object_bytes(data: bytes) -> int:
    """Estimate what ``json`` will make of JSON text, before it does.

    An empty list or object takes 64 bytes, a text 50 more than its own.
    """
    marks = data.count(b"[") + data.count(b"{") + data.count(b",")
    return 64 * marks + 30 * data.count(b'"') + 4 * len(data)


def _refused(name: str, why: str) -> SourceError:
    return SourceError(f"{name} is not read: {why}", remedy="save it anew as plain JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"it has the name {twice[:80]!r} twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _DIGITS:
        raise ValueError(f"it holds an integer of more than {_DIGITS} digits")
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text[:40]}, which is no finite number")
    return number


def _deeper_than(limit: int, value: Any) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
