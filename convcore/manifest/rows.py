"""Rows of a manifest that do not look like their class: those of the ledger, which is compact,
and of the checks, whose figures lie beside the verdict.

A row of the ledger leaves out a reason that it has not, and a key that is the tensor's name. It is
read by plain code, because there may be 100,000.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from convcore.formats import as_plain
from convcore.targets.check import Check, CheckKind
from convcore.targets.target import LedgerEntry, Place, State
from convcore.validators import FILE

_STATES = frozenset(get_args(State))
_ADDED = ("fresh", "constant")
_OF_A_ROW = frozenset(
    ("tensor", "target", "state", "file", "key", "reason", "dtype", "shape", "also")
)
_TEXT = (str,)
_TEXT_OR_NULL = (str, type(None))
# What the first version called the checks that it made.
_KINDS = {
    "bytes equal to source": CheckKind.BYTES,
    "torch.load equals source": CheckKind.LIBRARY,
    "safetensors equals source": CheckKind.LIBRARY,
    "torch.load equals source and seed": CheckKind.LIBRARY,
    "parity": CheckKind.PARITY,
}


def row_as_json(row: LedgerEntry) -> dict[str, Any]:
    """Return a row of the ledger as ``manifest.json`` has it."""
    made = whole_row(row)
    if row.key == row.tensor:
        del made["key"]
    if row.reason is None:
        del made["reason"]
    return made


def whole_row(row: LedgerEntry) -> dict[str, Any]:
    """Return a row of the ledger with nothing left out, as ``--json`` has it."""
    made: dict[str, Any] = {
        "tensor": row.tensor,
        "target": row.target,
        "state": row.state,
        "file": row.file,
        "key": row.key,
        "reason": row.reason,
    }
    if row.dtype is not None:
        made["dtype"], made["shape"] = row.dtype, list(row.shape or ())
    if row.also:
        made["also"] = [{"file": p.file, "key": p.key, "state": p.state} for p in row.also]
    return made


def row_of(value: Any) -> LedgerEntry:
    """Read a row of the ledger.

    Raises:
        ValueError: It is none; the message begins with the field at fault.
    """
    if not isinstance(value, dict):
        raise ValueError(f" is a {type(value).__name__}")
    if not value.keys() <= _OF_A_ROW:
        raise ValueError(f".{min(value.keys() - _OF_A_ROW)[:60]} is not known")
    tensor = _of(value, "tensor", _TEXT_OR_NULL)
    target, state, file = _of(value, "target", _TEXT), _state(value), _file(value, _TEXT_OR_NULL)
    key = _of(value, "key", _TEXT_OR_NULL) if "key" in value else tensor
    reason = _of(value, "reason", _TEXT_OR_NULL) if "reason" in value else None
    dtype, shape = None, None
    if "dtype" in value or "shape" in value:
        dtype, shape = _of(value, "dtype", _TEXT), tuple(_of(value, "shape", (list,)))
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(".shape is no list of sizes")
    also = tuple(map(_place, _of(value, "also", (list,)))) if "also" in value else ()
    row = LedgerEntry(tensor, target, state, file, key, reason, also, dtype, shape)
    wrong = contradiction(row)
    if wrong is not None:
        raise ValueError(f" is {wrong}")
    return row


def contradiction(row: LedgerEntry) -> str | None:
    """Say what no row can be; None for one that can."""
    if row.state == "dropped":
        if row.tensor is None or row.file is not None or row.key is not None or not row.reason:
            return "dropped: that is a tensor of the source, with a reason, in no file"
    elif row.file is None or row.dtype is not None:
        return f"{row.state}: that lies in a file, which tells type and shape"
    elif (row.tensor is None) != (row.state in _ADDED):
        return f"{row.state}: {'that is no' if row.tensor else 'that is a'} tensor of the source"
    return None


def _place(value: Any) -> Place:
    if not isinstance(value, dict) or value.keys() != {"file", "key", "state"}:
        raise ValueError(".also is no list of file, key and state")
    file: str = _file(value, _TEXT)
    # The first version called the key of what is folded "".
    return Place(file, _of(value, "key", _TEXT_OR_NULL) or None, _state(value))


def _state(value: Mapping[str, Any]) -> State:
    state: State = _of(value, "state", _TEXT)
    if state not in _STATES:
        raise ValueError(f".state is {state!r:.60}")
    return state


def _file(value: Mapping[str, Any], kinds: tuple[type, ...]) -> Any:
    file = _of(value, "file", kinds)
    if file is not None and not FILE.fullmatch(file):
        raise ValueError(f".file is {file!r:.60}, no name of a file in the folder")
    return file


def check_as_json(check: Check) -> dict[str, Any]:
    """Return a check with its figures beside its verdict, as every document has it."""
    own = {"file": check.file, "check": check.check, "kind": check.kind.value}
    return {**own, "passed": check.passed, **plain_figures(check.figures)}


def plain_figures(figures: Any) -> Any:
    """Return figures as JSON has them; a number that is not finite is null."""
    if isinstance(figures, float):
        return figures if math.isfinite(figures) else None
    if isinstance(figures, list | tuple):
        return [plain_figures(each) for each in figures]
    if isinstance(figures, Mapping):
        return {str(name): plain_figures(each) for name, each in figures.items()}
    return as_plain(figures)


def check_of(value: Any) -> Check:
    """Read a check; in schema 1 its sentence says its kind.

    Raises:
        ValueError: It is none; the message begins with the field at fault.
    """
    if not isinstance(value, dict):
        raise ValueError(f" is a {type(value).__name__}")
    figures = dict(value)
    file, said = _of(figures, "file", _TEXT), _of(figures, "check", _TEXT)
    passed = _of(figures, "passed", (bool,))
    kind = _KINDS.get(said, CheckKind.OTHER)
    if "kind" in figures:
        kind = CheckKind(_of(figures, "kind", _TEXT))
    for name in ("file", "check", "passed", "kind"):
        figures.pop(name, None)
    return Check(file, said, passed, figures, kind)


def _of(value: Mapping[str, Any], name: str, kinds: tuple[type, ...]) -> Any:
    if name not in value:
        raise ValueError(f" has no {name}")
    if type(value[name]) not in kinds:
        raise ValueError(f".{name} is a {type(value[name]).__name__}")
    return value[name]
