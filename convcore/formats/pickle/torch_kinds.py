"""Tensors of other kinds: named with what is known of them, their numbers not read.

Source of argument orders: ``torch/_utils.py`` and ``torch/_tensor.py`` of torch 1.0 to 2.13.
"""

from __future__ import annotations

from typing import Any

import attrs

from convcore.formats.archive import Opaque
from convcore.formats.pickle.reading import Reading, Rebuild
from convcore.formats.pickle.torch_names import check_count, dtype_named, sizes_of
from convcore.formats.pickle.values import TorchName
from convcore.tensors.byte_source import Memory
from convcore.tensors.faults import Malformed
from convcore.tensors.lazy_tensor import LazyTensor
from convcore.tensors.spec import TensorSpec
from convcore.tensors.storage import Extent, Storage

UNFINISHED = "not completed by its pickle"
_NOWHERE = Storage((Extent(Memory(b"", "-"), 0, 0),))


def unread(kind: str, dtype: str = "unknown", shape: tuple[int, ...] = ()) -> LazyTensor:
    """A tensor whose bytes are not read: sparse, nested, meta and the like."""
    spec = TensorSpec(dtype, shape)
    return LazyTensor(spec, _NOWHERE, 0, (0,) * len(shape), unsupported=kind)


def is_tensor(value: Any, what: str) -> LazyTensor:
    """Return a value that must be a tensor.

    Raises:
        Malformed: It is none.
    """
    if type(value) is not LazyTensor:
        raise Malformed(f"{what} is made of a {type(value).__name__}, not a tensor")
    return value


def _spec_of(reading: Reading, dtype: Any, size: Any) -> tuple[str, tuple[int, ...]]:
    reading.charged += 400
    shape = sizes_of(reading, size, "shape")
    return dtype_named(dtype).name, shape


def _sparse(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    check_count(args, 2, 2, "_rebuild_sparse_tensor")
    if type(args[1]) is not tuple or len(args[1]) not in (3, 4):
        raise Malformed("a sparse tensor without indices, values and size")
    coo = type(args[0]) is not TorchName or args[0].text.endswith("coo")
    values, size = args[1][1:3] if coo else args[1][-2:]
    return unread(
        "sparse", is_tensor(values, "a sparse tensor").dtype, sizes_of(reading, size, "shape")
    )


def _meta(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    check_count(args, 4, 4, "_rebuild_meta_tensor_no_storage")
    return unread("on the meta device, without numbers", *_spec_of(reading, args[0], args[1]))


def _nested(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    check_count(args, 4, 4, "_rebuild_nested_tensor")
    return unread("nested", is_tensor(args[0], "a nested tensor").dtype)


def _wrapper(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    check_count(args, 8, 8, "_rebuild_wrapper_subclass")
    name = args[0].qualified_name if type(args[0]) is Opaque else "unknown"
    return unread(f"subclass {name}", *_spec_of(reading, args[1], args[2]))


def _device_tensor(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    """``(data, dtype, device, requires_grad)``: data of the same type is the tensor itself."""
    check_count(args, 4, 4, "a device tensor")
    data = is_tensor(args[0], "a device tensor")
    dtype = dtype_named(args[1]).name
    if data.unsupported is None and dtype != data.dtype:
        return unread(f"stored as {data.dtype} for a device of {dtype}", dtype, data.shape)
    return attrs.evolve(data, numpy_array=False)


def _from_type(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    """``_rebuild_from_type_v2(func, type, args, state)``: the data are what func rebuilds."""
    check_count(args, 4, 4, "_rebuild_from_type_v2")
    function, kind, inner, state = args
    rebuild = reading.rebuilds.get(function) if type(function) is Opaque else None
    if rebuild is None or type(inner) is not tuple or rebuild is _from_type:
        name = function.qualified_name if type(function) is Opaque else type(function).__name__
        raise Malformed(f"a tensor is rebuilt by {name}, which is not known")
    tensor = is_tensor(rebuild(reading, inner), "a tensor subclass")
    if type(kind) is Opaque and kind.name in ("Parameter", "UninitializedParameter"):
        tensor = attrs.evolve(tensor, parameter=True)
    return attrs.evolve(tensor, attached=state) if state else tensor


_UTILS = "torch._utils"
RECIPES: dict[tuple[str, str], Rebuild] = {
    (_UTILS, "_rebuild_sparse_tensor"): _sparse,
    (_UTILS, "_rebuild_sparse_csr_tensor"): _sparse,
    (_UTILS, "_rebuild_meta_tensor_no_storage"): _meta,
    (_UTILS, "_rebuild_nested_tensor"): _nested,
    (_UTILS, "_rebuild_wrapper_subclass"): _wrapper,
    (_UTILS, "_rebuild_device_tensor_from_numpy"): _device_tensor,
    (_UTILS, "_rebuild_device_tensor_from_cpu_tensor"): _device_tensor,
    (_UTILS, "_rebuild_xla_tensor"): _device_tensor,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
}
