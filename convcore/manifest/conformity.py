"""Holding a JSON document from disk against its schema, before anybody relies on its shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def first_fault(document: Any, schema: Mapping[str, Any]) -> str | None:
    """Say where a document first departs from a schema; None where it conforms.

    Of JSON Schema (draft 2020-12) it knows ``$ref`` to ``$defs``, ``type``, ``enum``, ``const``,
    ``minimum``, ``minLength``, ``pattern``, ``oneOf``, ``required``, ``properties``,
    ``additionalProperties``, ``items``, ``allOf`` and ``if`` with ``then`` and ``else``. The tests
    hold what convcore writes against the whole schema with a complete validator.
    """
    return next(_faults(document, schema, schema.get("$defs", {}), "$"), None)


def _faults(
    value: Any, schema: Mapping[str, Any] | bool, defs: Mapping[str, Any], place: str
) -> Iterator[str]:
    if isinstance(schema, bool):
        if not schema:
            yield f"{place} is not known"
        return
    if "$ref" in schema:
        yield from _faults(value, defs[schema["$ref"].rpartition("/")[2]], defs, place)
    if "oneOf" in schema and all(
        next(_faults(value, each, defs, place), None) for each in schema["oneOf"]
    ):
        yield f"{place} is none of what it may be"
    if not _has_type(value, schema.get("type")):
        yield f"{place} is a {type(value).__name__}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place} is {str(value)[:60]!r}"
    if "const" in schema and value != schema["const"]:
        yield f"{place} is {str(value)[:60]!r}"
    if isinstance(value, str) and (
        len(value) < schema.get("minLength", 0) or not re.search(schema.get("pattern", ""), value)
    ):
        yield f"{place} is {value[:60]!r}"
    elif isinstance(value, int) and value < schema.get("minimum", value):
        yield f"{place} is {value}"
    elif isinstance(value, dict):
        yield from _faults_of_object(value, schema, defs, place)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _faults(item, schema["items"], defs, f"{place}[{index}]")


def _faults_of_object(
    value: Mapping[str, Any], schema: Mapping[str, Any], defs: Mapping[str, Any], place: str
) -> Iterator[str]:
    for part in schema.get("allOf", ()):
        fits = next(_faults(value, part.get("if", True), defs, place), None) is None
        yield from _faults(value, part.get("then" if fits else "else", True), defs, place)
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        yield f"{place} has no {missing[0]}"
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, item in value.items():
        yield from _faults(item, known.get(name, others), defs, f"{place}.{name[:60]}")


def _has_type(value: Any, wanted: str | list[str] | None) -> bool:
    if wanted is None:
        return True
    names = [wanted] if isinstance(wanted, str) else wanted
    # bool is an int to Python, and not to JSON.
    return any(
        isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
        for name in names
    )
