"""Reading well-known small objects of the standard library off their pickled arguments."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from convcore.formats.archive import Opaque

_TEXTUAL = {("decimal", "Decimal"), ("fractions", "Fraction")}


def decoded(value: Opaque) -> dict[str, Any] | None:
    """The telling parts of a date, decimal, UUID, partial or enum member; None for others."""
    pair = (value.module, value.name)
    if pair in _TEXTUAL and len(value.args) == 1 and type(value.args[0]) is str:
        return {"value": value.args[0]}
    if value.module == "datetime":
        return _date(value)
    if pair == ("uuid", "UUID") and isinstance(value.state, dict):
        number = value.state.get("int")
        if type(number) is int and 0 <= number < 1 << 128:
            text = f"{number:032x}"
            cuts = (0, 8, 12, 16, 20, 32)
            return {"value": "-".join(text[a:b] for a, b in pairwise(cuts))}
    if pair == ("functools", "partial"):
        return _partial(value)
    if value.name == "getattr" and value.module in ("builtins", "__builtin__"):
        owner = value.args[0] if value.args else None
        if type(owner) is Opaque and len(value.args) == 2 and type(value.args[1]) is str:
            return {"of": owner.qualified_name, "name": value.args[1]}
    if value.how == "reduce" and len(value.args) == 1 and type(value.args[0]) in (int, str):
        return {"value": value.args[0]} if not value.content else None
    return None


def _partial(value: Opaque) -> dict[str, Any] | None:
    state = value.state
    if type(state) is tuple and len(state) == 4:
        return {"func": state[0], "args": state[1], "keywords": state[2]}
    return None


def _date(value: Opaque) -> dict[str, Any] | None:
    """``date(4 bytes)``, ``time(6 bytes)``, ``datetime(10 bytes)``, ``timedelta(d, s, us)``."""
    args = value.args
    data = args[0] if args else None
    if type(data) is str:
        data = data.encode("latin-1", "replace")
    if value.name == "timedelta" and len(args) == 3 and all(type(part) is int for part in args):
        return {"value": f"{str(args[0])[:30]} days, {str(args[1])[:30]}.{str(args[2])[:30]} s"}
    if type(data) is not bytes:
        return None
    if value.name == "date" and len(data) == 4:
        return {"value": f"{data[0] * 256 + data[1]:04}-{data[2]:02}-{data[3]:02}"}
    if value.name == "datetime" and len(data) == 10:
        day = f"{data[0] * 256 + data[1]:04}-{data[2] & 127:02}-{data[3]:02}"
        return {"value": f"{day}T{_clock(data[4:])}"}
    if value.name == "time" and len(data) == 6:
        return {"value": _clock(data)}
    return None


def _clock(data: bytes) -> str:
    text = f"{data[0] & 127:02}:{data[1]:02}:{data[2]:02}"
    micro = int.from_bytes(data[3:6], "big")
    return f"{text}.{micro:06}" if micro else text
