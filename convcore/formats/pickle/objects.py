"""Opcodes that name classes and functions and would build objects; here they make data."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.pickle.numpy_objects import NumpyType, build_array, build_type
from convcore.formats.pickle.stack import line
from convcore.formats.pickle.torch_tensors import build_tensor
from convcore.formats.pickle.unpickler import Handler, Machine, Paused
from convcore.tensors.faults import Malformed
from convcore.tensors.lazy_tensor import LazyTensor


def _global(machine: Machine, pos: int) -> int:
    module, pos = line(machine, pos)
    name, pos = line(machine, pos)
    machine.stack.append(machine.reading.name(module.decode(), name.decode()))
    return pos


def _stack_global(machine: Machine, pos: int) -> int:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise Malformed("a global is not named by text")
    machine.stack.append(machine.reading.name(module, name))
    return pos


def _made(machine: Machine, target: Any, how: str, args: Any, kwargs: Any = None) -> Any:
    """What calling ``target`` stands for: recognised data, or an opaque object."""
    if type(target) is not Opaque:
        raise Malformed(f"calls a {type(target).__name__}")
    if type(args) is not tuple:
        raise Malformed(f"calls {target.qualified_name} with a {type(args).__name__}")
    reading = machine.reading
    rebuild = reading.rebuilds.get(target)
    if rebuild is None or kwargs:
        return reading.build(target, how, args, kwargs)
    return rebuild(reading, args)


def _reduce(machine: Machine, pos: int) -> int:
    stack = machine.stack
    args = stack.pop()
    stack[-1] = _made(machine, stack[-1], "reduce", args)
    return pos


def _newobj(machine: Machine, pos: int) -> int:
    stack = machine.stack
    args = stack.pop()
    stack[-1] = _made(machine, stack[-1], "newobj", args)
    return pos


def _newobj_ex(machine: Machine, pos: int) -> int:
    stack = machine.stack
    kwargs, args = stack.pop(), stack.pop()
    machine.reading.check_keywords(kwargs)
    stack[-1] = _made(machine, stack[-1], "newobj_ex", args, kwargs)
    return pos


def _obj(machine: Machine, pos: int) -> int:
    target, *args = machine.take_marked()
    machine.stack.append(_made(machine, target, "newobj", tuple(args)))
    return pos


def _inst(machine: Machine, pos: int) -> int:
    module, pos = line(machine, pos)
    name, pos = line(machine, pos)
    args = tuple(machine.take_marked())
    target = machine.reading.name(module.decode(), name.decode())
    machine.stack.append(_made(machine, target, "newobj", args))
    return pos


def _build(machine: Machine, pos: int) -> int:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if type(target) is Opaque:
        _record_state(machine, target, state)
        machine.charged += 250
        if machine.pause is not None and machine.pause(target):
            if machine.frame_end not in (0, pos):
                raise Malformed("raw bytes begin inside a FRAME")
            raise Paused(pos)
    elif type(target) is OrderedDict:
        # torch keeps the version of each module beside a state dict.
        if type(state) is dict and isinstance(state.get("_metadata"), dict):
            target.__dict__["_metadata"] = state["_metadata"]
    elif type(target) is NumpyType:
        build_type(target, state)
    elif type(target) is LazyTensor and target.numpy_array:
        replace(machine, target, build_array(machine.reading, target, state))
    elif type(target) is LazyTensor:
        build_tensor(machine.reading, target, state)
    else:
        raise Malformed(f"sets the state of a {type(target).__name__}")
    return pos


def _record_state(machine: Machine, target: Opaque, state: Any) -> None:
    before = target.content.get("state")
    if type(before) is dict and type(state) is dict:
        machine.charged += 100 * (len(before) + len(state))
        state = {**before, **state}
    target.content["state"] = state


def replace(machine: Machine, old: Any, new: Any) -> None:
    """Put an object array's opaque stand-in where the pickle has its half-made array already."""
    if new is old:
        return
    machine.stack[-1] = new
    memo = machine.memo
    for index in range(len(memo) - 1, -1, -1):
        if memo[index] is old:
            memo[index] = new
            break
    else:
        index = 0
    machine.charged += 8 * (len(memo) - index)


def _binpersid(machine: Machine, pos: int) -> int:
    if machine.persistent is None:
        raise Malformed("refers to a storage where there can be none")
    machine.stack[-1] = machine.persistent(machine.stack[-1])
    return pos


def _persid(machine: Machine, pos: int) -> int:
    if machine.persistent is None or not machine.text_ids:
        raise Malformed("refers to a storage by a line of text")
    text, pos = line(machine, pos)
    machine.stack.append(machine.persistent(text.decode()))
    return pos


HANDLERS: dict[bytes, Handler] = {
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _newobj,
    b"\x92": _newobj_ex,
    b"o": _obj,
    b"i": _inst,
    b"b": _build,
    b"Q": _binpersid,
    b"P": _persid,
}
