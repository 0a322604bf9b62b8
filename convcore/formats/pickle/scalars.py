"""Opcodes that push numbers, text and bytes."""

from __future__ import annotations

from codecs import escape_decode  # undocumented; what pickle itself uses
from struct import unpack_from
from typing import Any

from convcore.formats.pickle.stack import line, number
from convcore.formats.pickle.unpickler import Handler, Machine
from convcore.tensors.faults import Malformed


def constant(value: Any) -> Handler:
    """A handler that pushes one immutable value."""

    def push(machine: Machine, pos: int) -> int:
        machine.stack.append(value)
        return pos

    return push


def _binint1(machine: Machine, pos: int) -> int:
    machine.stack.append(machine.data[pos])
    return pos + 1


def _binint2(machine: Machine, pos: int) -> int:
    machine.stack.append(unpack_from("<H", machine.data, pos)[0])
    return pos + 2


def _binint(machine: Machine, pos: int) -> int:
    machine.stack.append(unpack_from("<i", machine.data, pos)[0])
    return pos + 4


def _binfloat(machine: Machine, pos: int) -> int:
    machine.stack.append(unpack_from(">d", machine.data, pos)[0])
    return pos + 8


def _integer(machine: Machine, pos: int, length: int) -> int:
    if not 0 <= length <= machine.reading.budgets.integer_bytes:
        raise Malformed(f"an integer of {length} bytes")
    end = machine.need(pos, length)
    machine.charged += 40 + length
    machine.stack.append(int.from_bytes(machine.data[pos:end], "little", signed=True))
    return end


def _long1(machine: Machine, pos: int) -> int:
    return _integer(machine, pos + 1, machine.data[pos])


def _long4(machine: Machine, pos: int) -> int:
    return _integer(machine, pos + 4, unpack_from("<i", machine.data, pos)[0])


def _int(machine: Machine, pos: int) -> int:
    text, pos = line(machine, pos)
    machine.charged += 40
    if text in (b"00", b"01"):
        machine.stack.append(text == b"01")
    else:
        machine.stack.append(number(text, machine.reading.budgets.integer_digits))
    return pos


def _long(machine: Machine, pos: int) -> int:
    text, pos = line(machine, pos)
    machine.charged += 40
    machine.stack.append(number(text.removesuffix(b"L"), machine.reading.budgets.integer_digits))
    return pos


def _float(machine: Machine, pos: int) -> int:
    text, pos = line(machine, pos)
    if len(text) > machine.reading.budgets.integer_digits or b"_" in text:
        raise Malformed("a number in text form is too long")
    machine.stack.append(float(text))
    return pos


def _charge(machine: Machine, data: bytes, *, escapes: bool = False) -> None:
    """Account for an object of these bytes; one wide character makes a str four times as large."""
    size = len(data)
    if size > machine.reading.budgets.text_bytes:
        raise Malformed(f"one text of {size} bytes")
    narrow = data.isascii() and not (escapes and b"\\" in data)
    machine.charged += 60 + (size if narrow else 4 * size)
    if size > 4096:
        machine.audit(0)


def _text(machine: Machine, pos: int, length: int) -> int:
    end = pos + length
    if end > len(machine.data):
        machine.need(pos, length)
    data = machine.data[pos:end]
    if length < 256:
        machine.charged += 60 + length if data.isascii() else 80 + 4 * length
    else:
        _charge(machine, data)
    machine.stack.append(str(data, "utf-8", "surrogatepass"))
    return end


def _binunicode(machine: Machine, pos: int) -> int:
    return _text(machine, pos + 4, unpack_from("<I", machine.data, pos)[0])


def _short_binunicode(machine: Machine, pos: int) -> int:
    return _text(machine, pos + 1, machine.data[pos])


def _binunicode8(machine: Machine, pos: int) -> int:
    return _text(machine, pos + 8, unpack_from("<Q", machine.data, pos)[0])


def _unicode(machine: Machine, pos: int) -> int:
    text, pos = line(machine, pos)
    _charge(machine, text, escapes=True)
    machine.stack.append(str(text, "raw-unicode-escape"))
    return pos


def _bytes(machine: Machine, pos: int, length: int) -> int:
    end = machine.need(pos, length)
    machine.charged += 60 + length
    if length > machine.reading.budgets.text_bytes:
        raise Malformed(f"one bytes object of {length} bytes")
    machine.stack.append(machine.data[pos:end])
    return end


def _binbytes(machine: Machine, pos: int) -> int:
    return _bytes(machine, pos + 4, unpack_from("<I", machine.data, pos)[0])


def _short_binbytes(machine: Machine, pos: int) -> int:
    return _bytes(machine, pos + 1, machine.data[pos])


def _binbytes8(machine: Machine, pos: int) -> int:
    return _bytes(machine, pos + 8, unpack_from("<Q", machine.data, pos)[0])


def _bytearray8(machine: Machine, pos: int) -> int:
    end = _binbytes8(machine, pos)
    machine.stack[-1] = bytearray(machine.stack[-1])
    return end


def python2_text(data: bytes) -> str | bytes:
    """A Python 2 ``str``: text where it is UTF-8 (as torch decodes it), else bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _binstring(machine: Machine, pos: int) -> int:
    (length,) = unpack_from("<i", machine.data, pos)
    if length < 0:
        raise Malformed(f"a text of {length} bytes")
    end = _bytes(machine, pos + 4, length)
    _charge(machine, machine.stack[-1])
    machine.stack[-1] = python2_text(machine.stack[-1])
    return end


def _short_binstring(machine: Machine, pos: int) -> int:
    end = _bytes(machine, pos + 1, machine.data[pos])
    _charge(machine, machine.stack[-1])
    machine.stack[-1] = python2_text(machine.stack[-1])
    return end


def _string(machine: Machine, pos: int) -> int:
    text, pos = line(machine, pos)
    if len(text) < 2 or text[0] != text[-1] or text[:1] not in (b"'", b'"'):
        raise Malformed("a quoted text has no quotes")
    _charge(machine, text, escapes=True)
    machine.stack.append(python2_text(escape_decode(text[1:-1])[0]))
    return pos


HANDLERS: dict[bytes, Handler] = {
    b"N": constant(None),
    b"\x88": constant(True),
    b"\x89": constant(False),
    b"K": _binint1,
    b"M": _binint2,
    b"J": _binint,
    b"G": _binfloat,
    b"\x8a": _long1,
    b"\x8b": _long4,
    b"I": _int,
    b"L": _long,
    b"F": _float,
    b"X": _binunicode,
    b"\x8c": _short_binunicode,
    b"\x8d": _binunicode8,
    b"V": _unicode,
    b"B": _binbytes,
    b"C": _short_binbytes,
    b"\x8e": _binbytes8,
    b"\x96": _bytearray8,
    b"T": _binstring,
    b"U": _short_binstring,
    b"S": _string,
}
