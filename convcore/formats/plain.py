"""Any value of a checkpoint as data that JSON can hold."""

from __future__ import annotations

import math
import struct
from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.opaque_text import decoded
from convcore.formats.pickle.numpy_objects import NumpyType
from convcore.formats.pickle.values import TorchName
from convcore.formats.tree import part_name
from convcore.formats.typed_storage import TypedStorage
from convcore.formats.unwrapping import as_mapping, is_omegaconf, omegaconf_tree, path_text
from convcore.tensors.dtypes import BY_NAME
from convcore.tensors.lazy_tensor import LazyTensor

_DEPTH = 100  # deeper than any configuration; json itself gives up near 1000
_NODES = 200_000
_TEXT = 1 << 20
_SMALL_ARRAY = 64
_CODES = {
    "bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B",
    "uint16": "H", "uint32": "I", "uint64": "Q", "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip


def as_plain(value: Any) -> Any:
    """Return ``value`` as None, bool, int, float, str, list and dict with text keys.

    What JSON has no word for becomes an object with one ``$`` key: ``$tensor`` (dtype, shape),
    ``$type`` (an object never imported, with its state), ``$global`` (a class or function),
    ``$ref`` (a value that contains itself: the path of that value), ``$float`` (nan, inf),
    ``$int`` (beyond 64 bits, in hexadecimal), ``$bytes`` (length; the bytes when few), ``$set``,
    ``$complex``, ``$slice``, ``$range``, ``$items`` (a dictionary whose keys would collide as text)
    and ``$truncated``. Paths, namespaces, attribute dictionaries and OmegaConf trees are unwrapped.
    """
    return _Plainer().plain(value, "$", 0)


class _Plainer:
    def __init__(self) -> None:
        self.open: dict[int, str] = {}
        self.nodes = 0
        self.unwrapped: dict[int, Any] = {}

    def plain(self, value: Any, path: str, depth: int) -> Any:
        self.nodes += 1
        if value is None or type(value) is bool:
            return value
        if type(value) in _SCALARS:
            return _SCALARS[type(value)](value)
        if id(value) in self.open:
            return {"$ref": self.open[id(value)]}
        if depth > _DEPTH or self.nodes > _NODES:
            return {"$truncated": "nested too deeply" if depth > _DEPTH else "too large"}
        self.open[id(value)] = path
        try:
            return self.container(value, path, depth + 1)
        finally:
            del self.open[id(value)]

    def container(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, dict):
            return self.mapping(value, path, depth)
        if isinstance(value, (list, tuple)):
            return self.listing(value, path, depth)
        if isinstance(value, (set, frozenset)):
            items = self.listing(list(value), path, depth)
            return {"$set": sorted(items, key=lambda item: (type(item).__name__, str(item)))}
        if type(value) is Opaque:
            return self.opaque(value, path, depth)
        if type(value) is NumpyType:
            return f"numpy.{value.name or _text(value.text)}"
        return {"$type": f"{type(value).__module__}.{type(value).__qualname__}"}

    def listing(self, values: Any, path: str, depth: int) -> list[Any]:
        made: list[Any] = []
        for index, item in enumerate(values):
            if self.nodes > _NODES:
                made.append({"$truncated": f"{len(values) - index} more"})
                break
            made.append(self.plain(item, f"{path}.{index}", depth))
        return made

    def mapping(self, value: dict[Any, Any], path: str, depth: int) -> dict[str, Any]:
        names = [_text(part_name(key)) for key in value]
        if len(set(names)) != len(names) or any(type(key) in (tuple, frozenset) for key in value):
            return {"$items": self.listing([list(pair) for pair in value.items()], path, depth)}
        made: dict[str, Any] = {}
        for name, item in zip(names, value.values(), strict=True):
            if self.nodes > _NODES:
                made["$truncated"] = f"{len(names) - len(made)} more"
                break
            made[name] = self.plain(item, f"{path}.{name[:60]}", depth)
        return made

    def opaque(self, value: Opaque, path: str, depth: int) -> Any:
        name = _text(value.qualified_name)
        if value.how == "global":
            return {"$global": name}
        text = path_text(value)
        if text is not None:
            return _text(text)
        if is_omegaconf(value):
            if id(value) not in self.unwrapped:
                self.unwrapped[id(value)] = omegaconf_tree(value)
            return self.plain(self.unwrapped[id(value)], path, depth)
        mapping = as_mapping(value)
        if mapping is not None:
            return self.mapping(mapping, path, depth)
        made: dict[str, Any] = {"$type": name}
        known = decoded(value)
        if known is not None:
            parts = known.items()
        else:
            if value.module.startswith("cloudpickle"):
                made["$code"] = True
                return made
            parts = {
                "args": value.args, "kwargs": value.kwargs, "state": value.state,
                "items": value.content.get("items"),
            }.items()  # fmt: skip
        for part, item in parts:
            if item is not None and (known is not None or item not in ((), {}, [])):
                made[part] = self.plain(item, f"{path}.{part}", depth)
        return made


def _text(text: str) -> str:
    if len(text) > _TEXT:
        text = f"{text[:_TEXT]}… ({len(text)} characters)"
    # A lone surrogate cannot be written anywhere.
    return text.encode("utf-8", "backslashreplace").decode()


def _integer(value: int) -> Any:
    return value if -(1 << 63) <= value < 1 << 64 else {"$int": hex(value)}


def _float(value: float) -> Any:
    return value if math.isfinite(value) else {"$float": str(value)}


def _bytes(value: bytes | bytearray) -> Any:
    if len(value) <= _SMALL_ARRAY:
        return {"$bytes": len(value), "hex": value.hex()}
    return {"$bytes": len(value)}


def _tensor(value: LazyTensor) -> Any:
    count = math.prod(value.shape)
    if value.numpy_array and count <= _SMALL_ARRAY and value.dtype in _CODES:
        data = b"".join(value.chunks())
        numbers = [_float(n) if type(n) is float else n for n in _unpacked(value.dtype, data)]
        return _nested(numbers, value.shape)
    return {"$tensor": {"dtype": value.dtype, "shape": list(value.shape)}}


def _unpacked(dtype: str, data: bytes) -> tuple[Any, ...]:
    return struct.unpack(f"<{len(data) // BY_NAME[dtype].itemsize}{_CODES[dtype]}", data)


def _nested(numbers: list[Any], shape: tuple[int, ...]) -> Any:
    if not shape:
        return numbers[0]
    for size in reversed(shape[1:]):
        if size:
            numbers = [numbers[at : at + size] for at in range(0, len(numbers), size)]
    return numbers


_SCALARS: dict[type, Any] = {
    str: _text,
    int: _integer,
    float: _float,
    bytes: _bytes,
    bytearray: _bytes,
    complex: lambda value: {"$complex": [_float(value.real), _float(value.imag)]},
    slice: lambda value: {"$slice": [value.start, value.stop, value.step]},
    range: lambda value: {"$range": [value.start, value.stop, value.step]},
    type(...): lambda value: "...",
    type(NotImplemented): lambda value: "NotImplemented",
    TorchName: lambda value: _text(value.text),
    LazyTensor: _tensor,
    TypedStorage: lambda value: {"$storage": {"dtype": value.dtype.name, "length": value.length}},
}
