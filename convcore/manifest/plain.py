"""The classes of a record as plain data, field by field."""

from __future__ import annotations

from typing import Any

import attrs

from convcore.manifest.rows import check_as_json, row_as_json
from convcore.targets.check import Check
from convcore.targets.target import LedgerEntry


def record_as_json(record: Any) -> dict[str, Any]:
    """Return one of the classes of a manifest as it has it."""
    return {
        "bytes" if field.name == "nbytes" else field.name: _plain(getattr(record, field.name))
        for field in attrs.fields(type(record))
    }


def _plain(value: Any) -> Any:
    if isinstance(value, LedgerEntry):
        return row_as_json(value)
    if isinstance(value, Check):
        return check_as_json(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return record_as_json(value) if attrs.has(type(value)) else value
