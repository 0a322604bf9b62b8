"""All opcodes of protocols 0 to 5, by number."""

from __future__ import annotations

from convcore.archive.faults import Malformed
from convcore.archive.pickles import containers, objects, scalars, stack
from convcore.archive.pickles.machine import Handler, Machine


def _unknown(machine: Machine, pos: int) -> int:
    raise Malformed(f"0x{machine.data[pos - 1]:02x} is no pickle opcode")


TABLE: list[Handler] = [_unknown] * 256
for _module in (stack, scalars, containers, objects):
    for _code, _handler in _module.HANDLERS.items():
        TABLE[_code[0]] = _handler
