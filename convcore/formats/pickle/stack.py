"""Opcodes that move values between stack and memo, and those that frame a pickle."""

from __future__ import annotations

from struct import unpack_from
from typing import Any

from convcore.formats.pickle.unpickler import Handler, Machine, Short, Stopped
from convcore.tensors.faults import Malformed


def line(machine: Machine, pos: int) -> tuple[bytes, int]:
    """A text argument up to its newline, and the position after that."""
    end = machine.data.find(b"\n", pos)
    if end < 0:
        if len(machine.data) < machine.limit:
            raise Short(len(machine.data) + 1)
        raise Malformed("a text argument has no end")
    return machine.data[pos:end], end + 1


def number(text: bytes, most: int) -> int:
    """A decimal integer of at most ``most`` digits."""
    digits = text[1:] if text[:1] in (b"-", b"+") else text
    if not digits.isdigit() or len(digits) > most:
        raise Malformed(f"{text[:40]!r} is no integer of at most {most} digits")
    return int(text)


def _mark(machine: Machine, pos: int) -> int:
    machine.below.append(machine.stack)
    machine.stack = []
    return pos


def _stop(machine: Machine, pos: int) -> int:
    raise Stopped(pos)


def _pop(machine: Machine, pos: int) -> int:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.take_marked()
    return pos


def _pop_mark(machine: Machine, pos: int) -> int:
    machine.take_marked()
    return pos


def _dup(machine: Machine, pos: int) -> int:
    machine.stack.append(machine.stack[-1])
    return pos


def _binput(machine: Machine, pos: int) -> int:
    memo, index = machine.memo, machine.data[pos]
    if index == len(memo):
        memo.append(machine.stack[-1])
    else:
        _put_elsewhere(machine, index)
    return pos + 1


def _long_binput(machine: Machine, pos: int) -> int:
    (index,) = unpack_from("<I", machine.data, pos)
    if index == len(machine.memo):
        machine.memo.append(machine.stack[-1])
    else:
        _put_elsewhere(machine, index)
    return pos + 4


def _put(machine: Machine, pos: int) -> int:
    text, pos = line(machine, pos)
    index = number(text, 19)
    if index < 0:
        raise Malformed(f"memo index {index} is negative")
    if index == len(machine.memo):
        machine.memo.append(machine.stack[-1])
    else:
        _put_elsewhere(machine, index)
    return pos


def _memoize(machine: Machine, pos: int) -> int:
    if machine.sparse:
        _put_elsewhere(machine, len(machine.memo) + len(machine.sparse))
    else:
        machine.memo.append(machine.stack[-1])
    return pos


def _put_elsewhere(machine: Machine, index: int) -> None:
    value: Any = machine.stack[-1]
    if index < len(machine.memo):
        machine.memo[index] = value
    else:
        machine.charged += 150
        # Python's int hash makes indices that differ by a multiple of 2**61 - 1 collide.
        machine.sparse[index] = value
        if index >= 1 << 61:
            raise Malformed(f"memo index {index} is beyond any pickle")


def _recall(machine: Machine, index: int) -> Any:
    memo = machine.memo
    # An entry put out of order counts even when the gapless ones have reached its number.
    if machine.sparse and index in machine.sparse:
        return machine.sparse[index]
    if not 0 <= index < len(memo):
        raise Malformed(f"memo entry {index} was never put")
    return memo[index]


def _binget(machine: Machine, pos: int) -> int:
    index, memo = machine.data[pos], machine.memo
    if machine.sparse or index >= len(memo):
        machine.stack.append(_recall(machine, index))
    else:
        machine.stack.append(memo[index])
    return pos + 1


def _long_binget(machine: Machine, pos: int) -> int:
    (index,) = unpack_from("<I", machine.data, pos)
    machine.stack.append(_recall(machine, index))
    return pos + 4


def _get(machine: Machine, pos: int) -> int:
    text, pos = line(machine, pos)
    machine.stack.append(_recall(machine, number(text, 19)))
    return pos


def _proto(machine: Machine, pos: int) -> int:
    if machine.data[pos] > 5:
        raise Malformed(f"pickle protocol {machine.data[pos]} is not known")
    return pos + 1


def _frame(machine: Machine, pos: int) -> int:
    (length,) = unpack_from("<Q", machine.data, pos)
    start = pos + 8
    if machine.frame_end:
        raise Malformed("a FRAME begins inside another")
    if length > machine.limit - start:
        raise Malformed(f"a FRAME of {length} bytes reaches beyond the record")
    if not length:
        return start
    machine.frame_end = start + length
    end = machine.run(start, start + length)
    machine.frame_end = 0
    if end != start + length:
        raise Malformed("an argument crosses the end of its FRAME")
    return end


def _refused(machine: Machine, pos: int) -> int:
    raise Malformed(
        f"opcode 0x{machine.data[pos - 1]:02x} needs what lies outside the file",
        "save the checkpoint with torch.save",
    )


HANDLERS: dict[bytes, Handler] = {
    b"(": _mark,
    b".": _stop,
    b"0": _pop,
    b"1": _pop_mark,
    b"2": _dup,
    b"q": _binput,
    b"r": _long_binput,
    b"p": _put,
    b"\x94": _memoize,
    b"h": _binget,
    b"j": _long_binget,
    b"g": _get,
    b"\x80": _proto,
    b"\x95": _frame,
    b"\x82": _refused,
    b"\x83": _refused,
    b"\x84": _refused,
    b"\x97": _refused,
    b"\x98": _refused,
}
