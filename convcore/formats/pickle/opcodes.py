"""All opcodes of protocols 0 to 5, by number."""

from __future__ import annotations

from convcore.formats.pickle import containers, objects, scalars, stack
from convcore.formats.pickle.unpickler import Handler, Machine
from convcore.tensors.faults import Malformed


def _unknown(machine: Machine, pos: int) -> int:
    raise Malformed(f"0x{machine.data[pos - 1]:02x} is no pickle opcode")


TABLE: list[Handler] = [_unknown] * 256
for _module in (stack, scalars, containers, objects):
    for _code, _handler in _module.HANDLERS.items():
        TABLE[_code[0]] = _handler
