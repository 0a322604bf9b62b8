"""A record as JSON: plain data, and the text of ``manifest.json``.

The text has one row a line, so that ``grep`` and ``diff`` serve. It is put together from what
``json``'s encoder in C makes, which cannot indent; the one in Python takes longer than many a
checkpoint.
"""

from __future__ import annotations

import json
from typing import Any

from convcore.manifest.plain import record_as_json
from convcore.manifest.record import Manifest

_encode = json.JSONEncoder(allow_nan=False).encode


def as_json(manifest: Manifest) -> dict[str, Any]:
    """Return what ``manifest.json`` says as plain data."""
    content: dict[str, Any] = {"schema_version": manifest.schema_version}
    return content | record_as_json(manifest)


def text_of(manifest: Manifest) -> bytes:
    """Return the bytes of ``manifest.json``: ASCII, one newline at the end."""
    parts = (f"  {_encode(name)}: {_block(value)}" for name, value in as_json(manifest).items())
    return "{{\n{}\n}}\n".format(",\n".join(parts)).encode("ascii")


def _block(value: Any) -> str:
    """Render a list or an object with each of its parts on a line."""
    if not value or not isinstance(value, list | dict):
        return _encode(value)
    if isinstance(value, dict):
        lines = [f"    {_encode(name)}: {_encode(each)}" for name, each in value.items()]
        return "{{\n{}\n  }}".format(",\n".join(lines))
    if isinstance(value[0], dict):
        # All at once: a text inside would have \" where this has a quotation mark.
        row = f"{{{_encode(next(iter(value[0])))}: "
        rows = _encode(value)[1:-1].replace(f"}}, {row}", f"}},\n    {row}")
        return f"[\n    {rows}\n  ]"
    lines = [f"    {_encode(each)}" for each in value]
    return "[\n{}\n  ]".format(",\n".join(lines))
