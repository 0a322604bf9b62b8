"""NumPy's arrays and scalars as data, without NumPy.

Source of argument orders: ``numpy/_core/src/multiarray/methods.c`` and ``descriptor.c``
(``__reduce__`` of ndarray and dtype).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import prod
from typing import Any, Literal

import attrs

from convcore.formats.archive import Opaque
from convcore.formats.pickle.reading import Reading, Rebuild
from convcore.formats.pickle.torch_kinds import UNFINISHED
from convcore.tensors.byte_source import Memory
from convcore.tensors.dtypes import BY_NUMPY
from convcore.tensors.faults import Malformed
from convcore.tensors.lazy_tensor import LazyTensor, settle
from convcore.tensors.spec import TensorSpec
from convcore.tensors.storage import Extent, Storage

_KEY = "numpy array"
_NAMES = {
    "b1": "bool", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "u1": "uint8",
    "u2": "uint16", "u4": "uint32", "u8": "uint64", "f2": "float16", "f4": "float32",
    "f8": "float64", "c8": "complex64", "c16": "complex128",
}  # fmt: skip
_CODES = {
    "bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B",
    "uint16": "H", "uint32": "I", "uint64": "Q", "float16": "e", "float32": "f", "float64": "d",
    "complex64": "ff", "complex128": "dd",
}  # fmt: skip


@attrs.define(eq=False)
class NumpyType:
    """A ``numpy.dtype`` while a pickle is read; BUILD settles its byte order.

    Attributes:
        text: Kind and size as NumPy abbreviates them: ``f8``, ``U5``, ``O``.
        order: ``<``, ``>``, ``|`` or ``=``.
        plain: Whether it is one number per element; else its arrays stay opaque.
    """

    text: str
    order: str = "<"
    plain: bool = True

    @property
    def name(self) -> str | None:
        """NumPy's name of a plain number type, else None."""
        return _NAMES.get(self.text) if self.plain else None

    @property
    def byteorder(self) -> Literal["little", "big"]:
        """Of the elements."""
        return "big" if self.order == ">" else "little"


def _type(reading: Reading, args: tuple[Any, ...]) -> NumpyType:
    if (
        not 1 <= len(args) <= 3
        or type(args[0]) is not str
        or len(args[0]) > 100
        or not args[0].isprintable()
    ):
        raise Malformed("a numpy.dtype is not named by text")
    reading.charged += 150
    return NumpyType(args[0].lstrip("<>|="), args[0][0] if args[0][:1] in ("<", ">") else "<")


def build_type(target: NumpyType, state: Any) -> None:
    """BUILD on a dtype: ``(version, byte order, subarray, names, fields, size, …)``."""
    if type(state) is not tuple or not 5 <= len(state) <= 9:
        raise Malformed("a numpy.dtype has an unknown state")
    order = state[1].decode("latin-1") if type(state[1]) is bytes else state[1]
    if order not in ("<", ">", "|", "="):
        raise Malformed("a numpy.dtype has an unknown byte order")
    target.order = order
    target.plain = state[2] is None and state[3] is None and state[4] is None


def _scalar(reading: Reading, args: tuple[Any, ...]) -> Any:
    """``scalar(dtype, bytes)``: a Python number, or text; dates and records stay opaque."""
    if len(args) != 2 or type(args[0]) is not NumpyType:
        raise Malformed("a numpy scalar has no dtype")
    kind, data = args
    name = kind.name
    if type(data) is str:  # a Python 2 pickle
        reading.charged += 4 * len(data)
        data = data.encode()
    if name is not None and type(data) is bytes:
        layout = struct.Struct((">" if kind.order == ">" else "<") + _CODES[name])
        if len(data) != layout.size:
            raise Malformed(f"a numpy scalar of type {name} has {len(data)} bytes")
        values = layout.unpack(data)
        reading.charged += 40
        return values[0] if len(values) == 1 else complex(*values)
    if kind.plain and kind.text[:1] == "U" and type(data) is bytes:
        reading.charged += 60 + 2 * len(data)
        return data.decode("utf-32-be" if kind.order == ">" else "utf-32-le").rstrip("\0")
    if kind.plain and kind.text[:1] == "S" and type(data) is bytes:
        reading.charged += 60 + len(data)
        return data.rstrip(b"\0")
    return reading.build(Opaque("numpy", f"{kind.text} scalar"), "reduce", ())


def _array(reading: Reading, args: tuple[Any, ...]) -> LazyTensor | Opaque:
    """``_reconstruct(ndarray, (0,), b'b')``: an array that BUILD completes."""
    if len(args) != 3 or type(args[0]) is not Opaque:
        raise Malformed("a numpy array has no class")
    if args[0].name not in ("ndarray", "matrix", "memmap"):
        return reading.build(args[0], "reduce", ())
    reading.charged += 400
    nowhere = Storage((Extent(Memory(b"", str(reading.file)), 0, 0),), _KEY)
    spec = TensorSpec("uint8", (0,))
    return LazyTensor(spec, nowhere, 0, (1,), numpy_array=True, unsupported=UNFINISHED)


def build_array(reading: Reading, target: LazyTensor, state: Any) -> LazyTensor | Opaque:
    """BUILD on an array: ``(version, shape, dtype, Fortran order, bytes)``.

    Returns:
        The array itself, completed; an ``Opaque`` for objects and records.

    Raises:
        Malformed: It is complete already, or its bytes do not fit its shape.
    """
    if target.unsupported != UNFINISHED or type(state) is not tuple or len(state) not in (4, 5):
        raise Malformed("sets the state of an array")
    shape, kind, fortran, data = state[-4:]
    if type(kind) is not NumpyType:
        raise Malformed("a numpy array has no dtype")
    if kind.name is None:
        settle(target, unsupported=f"an array of {kind.text[:20]!r}")
        made = reading.build(Opaque("numpy", "ndarray"), "reduce", ())
        made.content["state"] = {"shape": shape, "dtype": kind.text, "values": data}
        return made
    made_of = array_of(reading, shape, kind, fortran is True, data)
    settle(target, **{name: getattr(made_of, name) for name in attrs.fields_dict(LazyTensor)})
    return target


def array_of(reading: Reading, shape: Any, kind: NumpyType, fortran: bool, data: Any) -> LazyTensor:
    """A numeric array whose bytes lie inside a pickle.

    Raises:
        Malformed: Its shape is none, or its bytes are more or fewer than its shape needs.
    """
    if type(data) is str:  # a Python 2 pickle
        data = data.encode()
        reading.charged += len(data)
    if type(data) is bytearray:
        reading.charged += len(data)
    if type(data) not in (bytes, bytearray):
        raise Malformed(f"a numpy array is made of a {type(data).__name__}")
    spec, stride = plan(reading, shape, kind, fortran)
    nbytes = prod(spec.shape) * BY_NUMPY[str(kind.name)].itemsize
    if nbytes != len(data):
        raise Malformed(f"a numpy array of {nbytes} bytes holds {len(data)}")
    extent = Extent(Memory(bytes(data), str(reading.file)), 0, nbytes)
    storage = Storage((extent,), _KEY, kind.byteorder)
    return LazyTensor(spec, storage, 0, stride, numpy_array=True)


def plan(
    reading: Reading, shape: Any, kind: NumpyType, fortran: bool
) -> tuple[TensorSpec, tuple[int, ...]]:
    """Type, shape and stride of a dense array, in C or Fortran order."""
    if kind.name is None:
        raise Malformed(f"a numpy array of {kind.text[:20]!r} is no array of numbers")
    if type(shape) is int:
        shape = (shape,)
    if (
        type(shape) is not tuple
        or len(shape) > reading.budgets.dimensions
        or not all(type(size) is int and 0 <= size < 1 << 63 for size in shape)
        or prod(size or 1 for size in shape) >= 1 << 63
    ):
        raise Malformed("a numpy array has an impossible shape")
    steps, step = [0] * len(shape), 1
    axes = range(len(shape)) if fortran else reversed(range(len(shape)))
    for axis in axes:
        steps[axis] = step
        step *= shape[axis]
    reading.charged += 500
    return TensorSpec(BY_NUMPY[kind.name].name, shape), tuple(steps)


def _frombuffer(reading: Reading, args: tuple[Any, ...]) -> Any:
    """``_frombuffer(buffer, dtype, shape, order)`` of protocol 5."""
    if len(args) not in (4, 5) or type(args[1]) is not NumpyType or args[3] not in ("C", "F"):
        raise Malformed("a numpy array has no dtype, shape or order")
    data, kind, shape, order = args[:4]
    if kind.name is None:
        return reading.build(Opaque("numpy", "ndarray"), "reduce", ())
    return array_of(reading, shape, kind, order == "F", data)


def _masked(reading: Reading, args: tuple[Any, ...]) -> Any:
    return reading.build(Opaque("numpy.ma", "MaskedArray"), "reduce", ())


RECIPES: dict[tuple[str, str], Rebuild] = {
    ("numpy", "dtype"): _type,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("numpy.ma.core", "_mareconstruct"): _masked,
}
VALUES: dict[tuple[str, str], Callable[[str, str], Any]] = {("numpy", "ndarray"): Opaque}
