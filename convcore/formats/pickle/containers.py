"""Opcodes that make and fill tuples, lists, dictionaries and sets."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.pickle.unpickler import Handler, Machine
from convcore.tensors.faults import Malformed


def _empty_tuple(machine: Machine, pos: int) -> int:
    machine.stack.append(())
    return pos


def _tuple1(machine: Machine, pos: int) -> int:
    stack = machine.stack
    machine.charged += 64
    stack[-1] = (stack[-1],)
    return pos


def _tuple2(machine: Machine, pos: int) -> int:
    stack = machine.stack
    machine.charged += 72
    last = stack.pop()
    stack[-1] = (stack[-1], last)
    return pos


def _tuple3(machine: Machine, pos: int) -> int:
    stack = machine.stack
    machine.charged += 80
    last, middle = stack.pop(), stack.pop()
    stack[-1] = (stack[-1], middle, last)
    return pos


def _tuple(machine: Machine, pos: int) -> int:
    values = tuple(machine.take_marked())
    machine.charged += 56 + 8 * len(values)
    machine.stack.append(values)
    return pos


def _empty_list(machine: Machine, pos: int) -> int:
    machine.charged += 80
    machine.stack.append([])
    return pos


def _list(machine: Machine, pos: int) -> int:
    values = machine.take_marked()
    machine.charged += 80 + 8 * len(values)
    machine.stack.append(values)
    return pos


def _empty_dict(machine: Machine, pos: int) -> int:
    machine.charged += 100
    machine.stack.append({})
    return pos


def _dict(machine: Machine, pos: int) -> int:
    values = machine.take_marked()
    made: dict[Any, Any] = {}
    _fill(machine, made, values)
    machine.charged += 100
    machine.stack.append(made)
    return pos


def _empty_set(machine: Machine, pos: int) -> int:
    machine.charged += 230
    machine.stack.append(set())
    return pos


def _frozenset(machine: Machine, pos: int) -> int:
    values = machine.take_marked()
    machine.charged += 230 + 60 * len(values)
    check = machine.reading.check_key
    machine.stack.append(frozenset(check(value) for value in values))
    return pos


def _fill(machine: Machine, target: Any, values: list[Any]) -> None:
    """Set pairs of ``values`` in a dictionary or record them with an opaque object."""
    if len(values) % 2:
        raise Malformed("a key has no value")
    machine.charged += 60 * len(values)
    kind = type(target)
    if kind is dict or kind is OrderedDict:
        check = machine.reading.check_key
        pairs = iter(values)
        for key, value in zip(pairs, pairs, strict=True):
            if type(key) is not str:
                check(key)
            target[key] = value
    elif kind is Opaque:
        pairs = iter(values)
        target.items.extend(zip(pairs, pairs, strict=True))
    else:
        raise Malformed(f"sets items of a {kind.__name__}")


def _setitem(machine: Machine, pos: int) -> int:
    value, key = machine.stack.pop(), machine.stack.pop()
    _fill(machine, machine.stack[-1], [key, value])
    return pos


def _setitems(machine: Machine, pos: int) -> int:
    values = machine.take_marked()
    _fill(machine, machine.stack[-1], values)
    return pos


def _extend(machine: Machine, target: Any, values: list[Any]) -> None:
    machine.charged += 10 * len(values)
    kind = type(target)
    if kind is list:
        target.extend(values)
    elif kind is Opaque:
        target.items.extend(values)
    else:
        raise Malformed(f"appends to a {kind.__name__}")


def _append(machine: Machine, pos: int) -> int:
    value = machine.stack.pop()
    _extend(machine, machine.stack[-1], [value])
    return pos


def _appends(machine: Machine, pos: int) -> int:
    values = machine.take_marked()
    _extend(machine, machine.stack[-1], values)
    return pos


def _additems(machine: Machine, pos: int) -> int:
    values = machine.take_marked()
    target = machine.stack[-1]
    machine.charged += 60 * len(values)
    if type(target) is set:
        check = machine.reading.check_key
        target.update(check(value) for value in values)
    elif type(target) is Opaque:
        target.items.extend(values)
    else:
        raise Malformed(f"adds to a {type(target).__name__}")
    return pos


HANDLERS: dict[bytes, Handler] = {
    b")": _empty_tuple,
    b"\x85": _tuple1,
    b"\x86": _tuple2,
    b"\x87": _tuple3,
    b"t": _tuple,
    b"]": _empty_list,
    b"l": _list,
    b"}": _empty_dict,
    b"d": _dict,
    b"\x8f": _empty_set,
    b"\x91": _frozenset,
    b"s": _setitem,
    b"u": _setitems,
    b"a": _append,
    b"e": _appends,
    b"\x90": _additems,
}
