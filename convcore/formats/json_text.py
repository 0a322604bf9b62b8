"""JSON headers and indexes from strangers, bounded in memory before they are parsed."""

from __future__ import annotations

from typing import Any

from convcore.formats.budgets import Budgets
from convcore.tensors.faults import Malformed


def parse(data: bytes, budgets: Budgets) -> Any:
    """Parse JSON bytes under the rules of ``bounded_json``.

    Raises:
        Malformed: No JSON, or JSON that no program writes for a checkpoint.
    """
    from convcore.formats.bounded_json import object_bytes, parse_json

    if object_bytes(data) > budgets.object_bytes:
        raise Malformed(f"{len(data)} bytes of JSON hold more objects than any header")
    try:
        return parse_json(data.decode())
    except UnicodeDecodeError as error:
        raise Malformed("JSON is not UTF-8") from error
    except ValueError as error:
        raise Malformed(f"JSON is refused: {error}") from error
