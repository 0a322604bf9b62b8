"""How many tensors a file holds, told by the opcodes of its pickle; shares no code with convcore.

Opcodes come from ``pickletools``; nothing is imported and nothing is called. A tensor is a
reduction with a function of torch that is called ``_rebuild_*`` (one around another, as a parameter
is, counts once), an array of NumPy, or a bare storage. Each way from the top to a tensor counts, so
both names of a tie do.
"""

from __future__ import annotations

import io
import json
import pickletools
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Made:
    """What a reduction or a build would make: a callable's name, its arguments, its state."""

    def __init__(self, name: str, args: Any = ()) -> None:
        self.name = name
        self.parts: list[Any] = [args]
        self.is_tensor = name.startswith("torch.") and "._rebuild_" in name
        self.is_array = name.endswith(("multiarray._reconstruct", "numeric._frombuffer"))
        self.is_storage = name == "persistent"


class Name(str):
    """A global that a pickle names."""

    __slots__ = ()


def top_of(stream: Any) -> Any:
    """Run one pickle's opcodes on plain lists; return what stands on top at its end."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def popped() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument, _ in pickletools.genops(stream):
        value: Any = argument
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "POP":
                stack.pop()
            case "POP_MARK":
                popped()
            case "DUP":
                stack.append(stack[-1])
            case "GLOBAL":
                stack.append(Name(value.replace(" ", ".")))
            case "STACK_GLOBAL":
                last, module = stack.pop(), stack.pop()
                stack.append(Name(f"{module}.{last}"))
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "DICT" | "LIST" | "TUPLE" | "FROZENSET":
                stack.append(popped())
            case "EMPTY_TUPLE":
                stack.append([])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                items = stack[-count:]
                del stack[-count:]
                stack.append(items)
            case "SETITEMS" | "APPENDS" | "ADDITEMS":
                added = popped()
                _hold(stack[-1]).extend(added)
            case "SETITEM":
                added = [stack.pop(), stack.pop()]
                _hold(stack[-1]).extend(reversed(added))
            case "APPEND":
                added = [stack.pop()]
                _hold(stack[-1]).extend(added)
            case "REDUCE" | "NEWOBJ":
                args = stack.pop()
                stack.append(Made(str(stack.pop()), args))
            case "NEWOBJ_EX":
                keywords, args = stack.pop(), stack.pop()
                stack.append(Made(str(stack.pop()), [args, keywords]))
            case "OBJ":
                kind, *args = popped()
                stack.append(Made(str(kind), args))
            case "INST":
                stack.append(Made(value.replace(" ", "."), popped()))
            case "BUILD":
                state = stack.pop()
                _hold(stack[-1]).append(state)
            case "BINPERSID":
                stack.append(Made("persistent", stack.pop()))
            case "PERSID":
                stack.append(Made("persistent", value))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[value] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[value])
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case _ if value is not None:
                stack.append(value)
            case other:
                raise NotImplementedError(other)
    raise EOFError("no end of the pickle")


def _hold(target: Any) -> list[Any]:
    """What an item is added to: a container's own list, or that of a made object."""
    if isinstance(target, Made):
        return target.parts
    assert isinstance(target, list)
    return target


def tensors(top: Any) -> int:
    """Count the ways from the top to a tensor; what contains itself is not entered again."""
    count = 0
    stack: list[Iterator[Any]] = [iter([top])]
    entered: list[int] = [0]
    while stack:
        item = next(stack[-1], stack)
        if item is stack:
            stack.pop()
            entered.pop()
            continue
        if not isinstance(item, list | Made) or id(item) in entered:
            continue
        if isinstance(item, list):
            stack.append(iter(item))
        elif item.is_tensor:
            count += 1
            stack.append(iter(list(_attached(item))))
        elif item.is_array or item.is_storage:
            count += 1
            continue
        else:
            stack.append(iter(item.parts))
        entered.append(id(item))
    return count


def _attached(tensor: Any) -> Iterator[Any]:
    """What a tensor carries beside its own bytes: attributes, hooks; not the tensor it wraps."""
    if not isinstance(tensor, Made) or not tensor.is_tensor:
        return
    args, *states = tensor.parts
    yield from states
    match tensor.name.rpartition(".")[2]:
        case "_rebuild_from_type_v2":  # the function, a type, its arguments, attributes
            yield from _attached(Made(args[0], args[2]))
            yield args[3]
        case "_rebuild_parameter" | "_rebuild_parameter_with_state":
            yield from _attached(args[0])
            yield args[2:]
        case "_rebuild_tensor_v2":
            yield args[5:]


def count_file(path: Path) -> int:
    """Count the tensors of a file in torch's zip, legacy or tar format, or of safetensors."""
    data = path.read_bytes()
    if path.name.endswith(".safetensors"):
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return len(header.keys() - {"__metadata__"})
    stream = io.BytesIO(data)
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            (name,) = (n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl")
            return tensors(top_of(io.BytesIO(archive.read(name))))
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream) as archive:
            member = archive.extractfile("pickle")
            assert member is not None
            return tensors(top_of(io.BytesIO(member.read())))
    except tarfile.ReadError:
        stream.seek(0)
    first = top_of(stream)
    if first != 0x1950A86A20F9469CFC6C:  # the number that torch's older format begins with
        return tensors(first)
    for _ in range(2):  # its version, and what it says of the machine
        top_of(stream)
    return tensors(top_of(stream))
