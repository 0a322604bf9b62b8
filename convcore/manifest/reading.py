"""A record read back: every type, every name and the place of every fault, by cattrs.

What lies on a disk may have been changed by anybody. Nothing is coerced (a digest that is a number,
a list that is a text), and what no class knows is refused by name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from convcore.layouts.layout import Setting
from convcore.manifest.parts import ComponentRecord
from convcore.manifest.record import (
    ArtifactRecord,
    Manifest,
    SourceRecord,
    WeightSetRecord,
)
from convcore.manifest.rows import check_of, row_of
from convcore.targets.check import Check
from convcore.targets.report import WrittenFile
from convcore.targets.target import LedgerEntry

if TYPE_CHECKING:
    import cattrs

# Those that others are made of come first.
_RECORDS = (
    ArtifactRecord,
    ComponentRecord,
    Setting,
    SourceRecord,
    WeightSetRecord,
    WrittenFile,
    Manifest,
)
# What schema 1 did not have.
_NEW = ("request", "additions", "weight_sets", "artifacts")


def structure(content: Mapping[str, Any]) -> Manifest:
    """Make the record of a parsed ``manifest.json`` of schema 1 or 2.

    Raises:
        ValueError: It is none; the message names the place of the first fault.
    """
    import cattrs

    if content.get("schema_version") == 1:
        content = _upgraded(content)
    try:
        return _converter().structure(content, Manifest)
    except Exception as error:  # cattrs raises groups of whatever hooks and validators raise
        first = cattrs.transform_error(error, format_exception=_said)[0]
        what, _, place = first.rpartition(" @ ")
        raise ValueError(f"{place}{what}" if what[:1] in ". " else f"{place} {what}") from error


def _upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Give a record of the first version the fields that it did not have."""
    odd = [name for name in _NEW if name in content]
    if odd:
        raise ValueError(f"$.{odd[0]} is not known in schema 1")
    rows = content.get("ledger")
    for index, row in enumerate(rows if isinstance(rows, list) else ()):
        if isinstance(row, dict) and not {"key", "reason"} <= row.keys():
            raise ValueError(f"$.ledger[{index}] has no key or no reason")
    new: dict[str, Any] = {"request": None, "additions": [], "weight_sets": [], "artifacts": []}
    return {"strangers": [], "statistics": [], "spelt": {}, **content, **new}


@functools.cache
def _converter() -> cattrs.Converter:
    import cattrs
    from cattrs.gen import make_dict_structure_fn, override

    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _exactly)
    converter.register_structure_hook(bool, _exactly)
    converter.register_structure_hook(int, _count)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(LedgerEntry, lambda value, _: row_of(value))
    converter.register_structure_hook(Check, lambda value, _: check_of(value))
    converter.register_structure_hook_factory(_is_series)(_series)
    converter.register_structure_hook_factory(_is_mapping)(_mapping)
    for record in _RECORDS:
        renamed = {"nbytes": override(rename="bytes")} if hasattr(record, "nbytes") else {}
        made = make_dict_structure_fn(record, converter, **renamed)  # type: ignore[arg-type]
        converter.register_structure_hook(record, functools.partial(_object, made))
    return converter


def _is_series(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is Mapping


def _series(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    item = get_args(kind)[0]
    read = converter.get_structure_hook(item)
    return lambda value, _: tuple(_each(enumerate(_exactly(value, list)), read, item))


def _mapping(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    item = get_args(kind)[1]
    read = converter.get_structure_hook(item)
    return lambda value, _: dict(
        zip(value, _each(_exactly(value, dict).items(), read, item), strict=True)
    )


def _each(
    items: Iterable[tuple[int | str, Any]], read: Callable[[Any, Any], Any], kind: Any
) -> Iterator[Any]:
    from cattrs.errors import IterableValidationError, IterableValidationNote

    for index, value in items:
        try:
            yield read(value, kind)
        except Exception as error:
            error.add_note(IterableValidationNote("", index, kind))
            raise IterableValidationError("", [error], kind) from error


def _exactly(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"is a {type(value).__name__}")
    return value


def _object(read: Callable[[Any, Any], Any], value: Any, kind: Any) -> Any:
    return read(_exactly(value, dict), kind)


def _count(value: Any, _: object) -> int:
    if _exactly(value, int) < 0:
        raise ValueError(f"is {value}")
    return int(value)


def _number(value: Any, _: object) -> float:
    return float(_exactly(value, float if isinstance(value, float) else int))


def _said(error: BaseException, kind: object) -> str:
    """What is wrong at a place, in words that follow it."""
    from cattrs.errors import ForbiddenExtraKeysError

    if isinstance(error, ForbiddenExtraKeysError):
        return f"has {min(error.extra_fields)[:60]}, which is not known"
    if isinstance(error, KeyError):
        return f"has no {error.args[0]}"
    return str(error)
