"""TOML files that people write: read with their size bounded, and texts as TOML has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convcore.errors import UsageError

LARGEST = 4 << 20


def read_toml(path: Path, *, remedy: str) -> dict[str, Any]:
    """Return what a TOML file holds.

    Args:
        path: A file in UTF-8.
        remedy: What to do where it is none.

    Raises:
        UsageError: It cannot be read, is no TOML, or has more than 4 MiB.
    """
    import tomllib

    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST:,} bytes")
        return tomllib.loads(data.decode())
    except (OSError, ValueError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read as TOML: {said}", remedy=remedy) from error


def quoted(text: str) -> str:
    """Return a TOML basic string; everything but plain ASCII is escaped."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if " " <= char <= "~":
        return char
    code = ord(char)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
