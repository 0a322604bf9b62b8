"""Writing files that ``torch.load(weights_only=True)`` reads, without torch.

Source of the format: torch/serialization.py and caffe2/serialize (a ZIP of stored records:
``data.pkl``, ``byteorder``, ``data/<n>`` aligned to 64 bytes, ``version``), PKWARE APPNOTE 6.3 for
ZIP and ZIP64, and CPython's Lib/pickletools.py for the opcodes.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from convcore.targets.weights.files import append, copy, crc_of, create
from convcore.tensors import LazyTensor
from convcore.tensors.dtypes import BY_NAME

_ROOT = "archive"
_ALIGNMENT = 64
_MAX32 = 0xFFFFFFFF
_MAX16 = 0xFFFF
_PADDING_FIELD = 0x4246  # the field torch pads with


def write(path: Path, tree: Any) -> None:
    """Write a tree of plain values and tensors as a torch file, tensors copied from their source.

    Args:
        path: A file that does not exist yet.
        tree: Mappings, lists, plain values, and ``LazyTensor``; tensors that show the same
            elements share one storage in the file. ``weights.prove`` compares what was written.

    Raises:
        SourceError: The source has fewer bytes now than it had.
        OSError: The disk failed.
    """
    pickle = _Pickle()
    pickle.value(tree)
    descriptor = create(path)
    try:
        archive = _Zip(descriptor)
        archive.record("data.pkl", b"\x80\x02" + bytes(pickle.out) + b".")
        archive.record("byteorder", b"little")
        for index, tensor in enumerate(pickle.storages):
            archive.tensor(f"data/{index}", tensor)
        archive.record("version", b"3\n")
        archive.close()
    finally:
        os.close(descriptor)


class _Pickle:
    """Emits protocol 2 for plain values; every tensor becomes a storage of its own."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.storages: list[LazyTensor] = []
        self._by_identity: dict[object, int] = {}

    def value(self, value: Any) -> None:
        out = self.out
        if value is None or value is True or value is False:
            out += {None: b"N", True: b"\x88", False: b"\x89"}[value]
        elif isinstance(value, LazyTensor):
            self._tensor(value)
        elif isinstance(value, str):
            text = value.encode("utf-8", "surrogatepass")
            out += b"X" + struct.pack("<I", len(text)) + text
        elif isinstance(value, int):
            self._int(value)
        elif isinstance(value, float):
            out += b"G" + struct.pack(">d", value)
        elif isinstance(value, Mapping):
            out += b"ccollections\nOrderedDict\n)R" if isinstance(value, OrderedDict) else b"}"
            out += b"("
            for key, item in value.items():
                self.value(key)
                self.value(item)
            out += b"u"
        elif isinstance(value, list | tuple):
            out += b"(" if isinstance(value, tuple) else b"]("
            for item in value:
                self.value(item)
            out += b"t" if isinstance(value, tuple) else b"e"
        else:
            raise TypeError(f"a {type(value).__name__} is no plain value")

    def _int(self, value: int) -> None:
        if -(1 << 31) <= value < 1 << 31:
            self.out += b"J" + struct.pack("<i", value)
        else:
            digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.out += b"\x8a" + bytes([len(digits)]) + digits

    def _tensor(self, tensor: LazyTensor) -> None:
        dtype = BY_NAME[tensor.dtype]
        identity = tensor.identity if tensor.nbytes else object()
        index = self._by_identity.setdefault(identity, len(self.storages))
        if index == len(self.storages):
            self.storages.append(tensor)
        count = tensor.nbytes // dtype.itemsize
        untyped = dtype.storage is None
        if tensor.parameter:  # a module takes nothing less where it holds a parameter
            self.out += b"ctorch._utils\n_rebuild_parameter\n("
        function = b"_rebuild_tensor_v3" if untyped else b"_rebuild_tensor_v2"
        self.out += b"ctorch._utils\n" + function + b"\n(("
        self.value("storage")
        storage = "storage\nUntypedStorage" if untyped else f"\n{dtype.storage}"
        self.out += f"ctorch{'.' if untyped else ''}{storage}\n".encode()
        self.value(str(index))
        self.value("cpu")
        self._int(tensor.nbytes if untyped else count)
        self.out += b"tQ"
        self._int(0)
        self.value(tensor.shape)
        self.value(_strides(tensor.shape))
        self.out += b"\x89ccollections\nOrderedDict\n)R"
        if untyped:
            self.out += f"ctorch\n{tensor.dtype}\n".encode()
        self.out += b"tR"
        if tensor.parameter:
            self.value(tensor.requires_grad)
            self.out += b"ccollections\nOrderedDict\n)RtR"


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


class _Record(NamedTuple):
    name: bytes
    offset: int
    size: int
    crc: int


class _Zip:
    """A ZIP of stored records, with ZIP64 where a number needs it, and no dates."""

    def __init__(self, descriptor: int) -> None:
        self._file = descriptor
        self._size = 0
        self._records: list[_Record] = []

    def record(self, name: str, data: bytes) -> None:
        self._begin(name, len(data), zlib.crc32(data))
        self._append(data)

    def tensor(self, name: str, tensor: LazyTensor) -> None:
        self._begin(name, tensor.nbytes, crc_of(tensor))
        self._size += copy(tensor, self._file)

    def close(self) -> None:
        start = self._size
        directory = b"".join(_central(record) for record in self._records)
        self._append(directory + _end(len(self._records), len(directory), start))

    def _begin(self, name: str, size: int, crc: int) -> None:
        offset = self._size
        record = _Record(f"{_ROOT}/{name}".encode(), offset, size, crc)
        wide = struct.pack("<HHQQ", 1, 16, size, size) if size >= _MAX32 else b""
        start = offset + 30 + len(record.name) + len(wide) + 4
        padding = -start % _ALIGNMENT
        extra = wide + struct.pack("<HH", _PADDING_FIELD, padding) + b"Z" * padding
        shown = min(size, _MAX32)
        version = 45 if wide else 20
        names = (len(record.name), len(extra))
        header = struct.pack("<4s5H3I2H", b"PK\3\4", version, 0, 0, 0, 0, crc, shown, shown, *names)
        self._append(header + record.name + extra)
        self._records.append(record)

    def _append(self, data: bytes) -> None:
        append(data, self._file)
        self._size += len(data)


def _central(record: _Record) -> bytes:
    size, offset = min(record.size, _MAX32), min(record.offset, _MAX32)
    wide = struct.pack("<QQ", record.size, record.size) if size == _MAX32 else b""
    wide += struct.pack("<Q", record.offset) if offset == _MAX32 else b""
    extra = struct.pack("<HH", 1, len(wide)) + wide if wide else b""
    version = 45 if wide else 20
    sizes = (record.crc, size, size, len(record.name), len(extra))
    header = struct.pack("<4s6H3I2H", b"PK\1\2", version, version, 0, 0, 0, 0, *sizes)
    return header + struct.pack("<3H2I", 0, 0, 0, 0, offset) + record.name + extra


def _end(count: int, size: int, start: int) -> bytes:
    wide = b""
    if count >= _MAX16 or size >= _MAX32 or start >= _MAX32:
        record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
        wide = record + struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
    short = min(count, _MAX16)
    tail = (short, short, min(size, _MAX32), min(start, _MAX32), 0)
    return wide + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *tail)
