"""JSON from strangers: bounded in depth, digits and memory, no doubled keys, no NaN."""

from __future__ import annotations

from typing import Any

from convcore.archive.budgets import Budgets
from convcore.archive.faults import Malformed


def parse(data: bytes, budgets: Budgets) -> Any:
    """Parse JSON text.

    Raises:
        Malformed: No JSON, or JSON that no program writes for a checkpoint.
    """
    import json

    # What json will make: an empty list or object takes 64 bytes, a text 50 more than its own.
    marks = data.count(b"[") + data.count(b"{") + data.count(b",")
    if 64 * marks + 30 * data.count(b'"') + 4 * len(data) > 2 * budgets.object_bytes:
        raise Malformed(f"{len(data)} bytes of JSON hold more objects than any header")

    def integer(text: str) -> int:
        if len(text) > budgets.json_digits:
            raise Malformed(f"JSON holds an integer of {len(text)} digits")
        return int(text)

    def constant(text: str) -> Any:
        raise Malformed(f"JSON holds {text}")

    try:
        value = json.loads(
            data.decode(), parse_int=integer, parse_constant=constant, object_pairs_hook=_unique
        )
    except UnicodeDecodeError as error:
        raise Malformed("JSON is not UTF-8") from error
    except RecursionError as error:
        raise Malformed("JSON is nested too deeply") from error
    except ValueError as error:
        raise Malformed(f"is no JSON: {str(error)[:120]}") from error
    _check_depth(value, budgets.json_depth)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise Malformed(f"JSON holds the key {name!r} twice")
        made[name] = value
    return made


def _check_depth(value: Any, most: int) -> None:
    level = [value]
    for _ in range(most):
        level = [
            item
            for part in level
            if isinstance(part, (dict, list))
            for item in (part.values() if isinstance(part, dict) else part)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return
    raise Malformed(f"JSON is nested more than {most} deep")
