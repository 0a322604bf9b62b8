"""torch's own classes and rebuild functions as data: tensors, storages, sizes, devices, dtypes.

Source of argument orders: ``torch/_utils.py`` and ``torch/_tensor.py`` of torch 0.1 to 2.13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from convcore.archive.faults import Malformed, shown
from convcore.archive.lazy import QUANTIZED, LazyTensor, Storage, TypedStorage, settle
from convcore.archive.pickles.reading import Reading, Rebuild
from convcore.archive.pickles.values import TorchName
from convcore.dtypes import BY_NAME, BY_STORAGE, DType
from convcore.model import Opaque, TensorSpec

UNFINISHED = "not completed by its pickle"
_BYTES = BY_NAME["uint8"]
_MOST = 1 << 63


def storage_type(value: Any) -> DType:
    """The element type a storage class stands for.

    Raises:
        Malformed: The value is no storage class of torch.
    """
    if type(value) is Opaque and value.how == "global" and value.module.split(".")[0] == "torch":
        if value.name == "UntypedStorage":
            return _BYTES
        dtype = BY_STORAGE.get(value.name) or QUANTIZED.get(value.name)
        if dtype is not None:
            return dtype
    shown = value.qualified_name if type(value) is Opaque else type(value).__name__
    raise Malformed(f"{shown} is no storage type")


def _sizes(reading: Reading, value: Any, what: str) -> tuple[int, ...]:
    if type(value) not in (tuple, list):
        raise Malformed(f"the {what} of a tensor is a {type(value).__name__}")
    if len(value) > reading.budgets.dimensions:
        raise Malformed(f"a tensor has {len(value)} axes")
    for size in value:
        if type(size) is not int or not 0 <= size < _MOST:
            raise Malformed(f"the {what} of a tensor holds {shown(size)}")
    return tuple(value)


def tensor_of(
    reading: Reading, storage: Any, offset: Any, size: Any, stride: Any, dtype: DType | None = None
) -> LazyTensor:
    """A tensor over a storage, once every element of it is proved to lie inside.

    Args:
        reading: The file's reading.
        storage: ``TypedStorage``; anything else is refused.
        offset: First element, in elements.
        size: Size of each axis.
        stride: Step along each axis, in elements.
        dtype: Element type, where it is not the storage's (``_rebuild_tensor_v3``).

    Raises:
        Malformed: A size, stride or offset that is no size, or reaches outside the storage.
    """
    if type(storage) is tuple and reading.resolve is not None:
        storage = reading.resolve(storage)
    if type(storage) is not TypedStorage:
        raise Malformed(f"a tensor is built over a {type(storage).__name__}, not a storage")
    shape = _sizes(reading, size, "shape")
    steps = _sizes(reading, stride, "stride")
    if len(shape) != len(steps):
        raise Malformed(f"a tensor has {len(shape)} sizes and {len(steps)} strides")
    if type(offset) is not int or not 0 <= offset < _MOST:
        raise Malformed(f"a tensor begins at element {shown(offset)}")
    kind = storage.dtype if dtype is None else dtype
    reach, count = 1, 1
    for length, step in zip(shape, steps, strict=True):
        if length:
            count *= length
            reach += (length - 1) * step
    if 0 in shape:
        reach = 0
    have = storage.length * storage.dtype.itemsize
    if count >= _MOST or (offset + reach) * kind.itemsize > have:
        raise Malformed(
            f"a tensor of shape {list(shape)[:8]} and stride {list(steps)[:8]} at element {offset}"
            f" reaches outside its storage of {have} bytes"
        )
    begin = storage.offset * storage.dtype.itemsize
    if begin % kind.itemsize:
        raise Malformed("a view begins in the middle of an element")
    key = (kind.name, shape)
    spec = reading.specs.get(key)
    if spec is None:
        spec = reading.specs[key] = TensorSpec(kind.name, shape)
    reading.charged += 400
    unsupported = "quantized" if kind.name[0] == "q" else None
    return LazyTensor(
        spec, storage.storage, begin // kind.itemsize + offset, steps, unsupported=unsupported
    )


def _flags(tensor: LazyTensor, metadata: Any) -> LazyTensor:
    """Apply the conj and neg bits; without them the numbers would be wrong."""
    if metadata is None:
        return tensor
    if type(metadata) is not dict or len(metadata) > 2 or set(metadata) - {"conj", "neg"}:
        raise Malformed("a tensor has metadata that is not known")
    conj, neg = metadata.get("conj", False), metadata.get("neg", False)
    if type(conj) is not bool or type(neg) is not bool:
        raise Malformed("a tensor's conj and neg are not true or false")
    return attrs.evolve(tensor, conj=conj, neg=neg)


def _arity(args: tuple[Any, ...], least: int, most: int, what: str) -> None:
    if not least <= len(args) <= most:
        raise Malformed(f"{what} with {len(args)} arguments")


def _tensor(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    _arity(args, 4, 4, "_rebuild_tensor")
    return tensor_of(reading, *args)


def _tensor_v2(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    _arity(args, 5, 7, "_rebuild_tensor_v2")
    tensor = tensor_of(reading, args[0], args[1], args[2], args[3])
    if args[4] is True:
        settle(tensor, requires_grad=True)
    return _flags(tensor, args[6]) if len(args) == 7 else tensor


def _tensor_v3(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    _arity(args, 7, 8, "_rebuild_tensor_v3")
    tensor = tensor_of(reading, args[0], args[1], args[2], args[3], dtype_named(args[6]))
    if args[4] is True:
        settle(tensor, requires_grad=True)
    return _flags(tensor, args[7]) if len(args) == 8 else tensor


def dtype_named(value: Any) -> DType:
    """The element type of a ``torch.float32``.

    Raises:
        Malformed: It is none.
    """
    if type(value) is TorchName and value.text.removeprefix("torch.") in BY_NAME:
        return BY_NAME[value.text.removeprefix("torch.")]
    if type(value) is TorchName and value.text.removeprefix("torch.") in _SUBBYTE:
        return DType(value.text.removeprefix("torch."), 1, None, None, None)
    raise Malformed(f"{shown(value)} is no element type")


_SUBBYTE = ("qint8", "quint8", "qint32", "quint4x2", "quint2x4", "float4_e2m1fn_x2", "bits8")


def _is_tensor(value: Any, what: str) -> LazyTensor:
    if type(value) is not LazyTensor:
        raise Malformed(f"{what} is made of a {type(value).__name__}, not a tensor")
    return value


def _parameter(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    """``_rebuild_parameter(data, requires_grad, hooks[, state])``, ``Parameter(data)`` of 0.1."""
    _arity(args, 1, 4, "a parameter")
    data = _is_tensor(args[0], "a parameter")
    wanted = args[1] if len(args) > 1 else True
    reading.charged += 300
    return attrs.evolve(data, parameter=True, requires_grad=wanted is True)


def _buffer(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    _arity(args, 1, 3, "a buffer")
    return _is_tensor(args[0], "a buffer")


def unread(kind: str, dtype: str = "unknown", shape: tuple[int, ...] = ()) -> LazyTensor:
    """A tensor whose bytes are not read: sparse, nested, meta and the like."""
    spec = TensorSpec(dtype, shape)
    return LazyTensor(spec, _NOWHERE, 0, (0,) * len(shape), unsupported=kind)


def _nowhere() -> Storage:
    from pathlib import Path

    from convcore.archive.source_file import SourceFile

    return Storage(SourceFile(Path("-"), held=b""), "", 0, 0, inline=b"")


_NOWHERE = _nowhere()


def _spec_of(reading: Reading, dtype: Any, size: Any) -> tuple[str, tuple[int, ...]]:
    reading.charged += 400
    shape = _sizes(reading, size, "shape")
    return dtype_named(dtype).name, shape


def _sparse(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    _arity(args, 2, 2, "_rebuild_sparse_tensor")
    if type(args[1]) is not tuple or len(args[1]) not in (3, 4):
        raise Malformed("a sparse tensor without indices, values and size")
    coo = type(args[0]) is not TorchName or args[0].text.endswith("coo")
    values, size = args[1][1:3] if coo else args[1][-2:]
    return unread(
        "sparse", _is_tensor(values, "a sparse tensor").dtype, _sizes(reading, size, "shape")
    )


def _quantized(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    _arity(args, 6, 8, "_rebuild_qtensor")
    tensor = tensor_of(reading, *args[:4])
    settle(tensor, unsupported="quantized")
    return tensor


def _meta(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    _arity(args, 4, 4, "_rebuild_meta_tensor_no_storage")
    return unread("on the meta device, without numbers", *_spec_of(reading, args[0], args[1]))


def _nested(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    _arity(args, 4, 4, "_rebuild_nested_tensor")
    return unread("nested", _is_tensor(args[0], "a nested tensor").dtype)


def _wrapper(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    _arity(args, 8, 8, "_rebuild_wrapper_subclass")
    name = args[0].qualified_name if type(args[0]) is Opaque else "unknown"
    return unread(f"subclass {name}", *_spec_of(reading, args[1], args[2]))


def _device_tensor(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    """``(data, dtype, device, requires_grad)``: data of the same type is the tensor itself."""
    _arity(args, 4, 4, "a device tensor")
    data = _is_tensor(args[0], "a device tensor")
    dtype = dtype_named(args[1]).name
    if data.unsupported is None and dtype != data.dtype:
        return unread(f"stored as {data.dtype} for a device of {dtype}", dtype, data.shape)
    return attrs.evolve(data, numpy_array=False)


def _from_type(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    """``_rebuild_from_type_v2(func, type, args, state)``: the data are what func rebuilds."""
    _arity(args, 4, 4, "_rebuild_from_type_v2")
    function, kind, inner, _ = args
    rebuild = reading.rebuilds.get(function) if type(function) is Opaque else None
    if rebuild is None or type(inner) is not tuple or rebuild is _from_type:
        name = function.qualified_name if type(function) is Opaque else type(function).__name__
        raise Malformed(f"a tensor is rebuilt by {name}, which is not known")
    tensor = _is_tensor(rebuild(reading, inner), "a tensor subclass")
    if type(kind) is Opaque and kind.name in ("Parameter", "UninitializedParameter"):
        return attrs.evolve(tensor, parameter=True)
    return tensor


def _old_tensor(name: str) -> Rebuild:
    """``torch.FloatTensor()`` of torch 0.1, completed by BUILD."""
    dtype = BY_STORAGE[f"{name.removesuffix('Tensor')}Storage"]

    def rebuild(reading: Reading, args: tuple[Any, ...]) -> Any:
        if args:
            raise Malformed(f"torch.{name} is called with arguments")
        reading.charged += 400
        return unread(UNFINISHED, dtype.name, (0,))

    return rebuild


def build_tensor(reading: Reading, target: LazyTensor, state: Any) -> None:
    """BUILD on a tensor: ``(storage, offset, size, stride)`` of 0.1, or a Variable's flags.

    Raises:
        Malformed: The tensor is complete; nothing may change it any more.
    """
    if target.unsupported == UNFINISHED and type(state) is tuple and len(state) == 4:
        made = tensor_of(reading, *state)
        if made.dtype != target.dtype:
            raise Malformed(f"a {target.dtype} tensor is built over a {made.dtype} storage")
        values = attrs.fields_dict(LazyTensor)
        settle(target, **{name: getattr(made, name) for name in values})
    elif target.parameter and type(state) is tuple and len(state) == 3:
        settle(target, requires_grad=state[0] is True)
    else:
        raise Malformed("sets the state of a tensor")


def _size(reading: Reading, args: tuple[Any, ...]) -> tuple[int, ...]:
    _arity(args, 1, 1, "torch.Size")
    size = _sizes(reading, args[0], "shape")
    reading.charged += 56 + 8 * len(size)
    return size


def _device(reading: Reading, args: tuple[Any, ...]) -> TorchName:
    _arity(args, 1, 2, "torch.device")
    if type(args[0]) is not str or (len(args) == 2 and type(args[1]) is not int):
        raise Malformed("a torch.device is not named by text")
    reading.charged += 100
    return TorchName("device", ":".join(map(str, args))[:100])


def _layout(reading: Reading, args: tuple[Any, ...]) -> TorchName:
    _arity(args, 1, 1, "_get_layout")
    if type(args[0]) is not str:
        raise Malformed("a layout is not named by text")
    reading.charged += 100
    return TorchName("layout", args[0][:100])


def _nested_storage(reading: Reading, args: tuple[Any, ...]) -> Any:
    """``torch.storage._load_from_bytes``: a whole torch file inside a bytes object."""
    _arity(args, 1, 1, "_load_from_bytes")
    if type(args[0]) not in (bytes, bytearray) or reading.nested is None:
        raise Malformed("a storage is loaded from something that is not bytes")
    reading.charged += 10_000 + 6 * len(args[0])
    return reading.nested(reading, bytes(args[0]))


_UTILS = "torch._utils"
RECIPES: dict[tuple[str, str], Rebuild] = {
    (_UTILS, "_rebuild_tensor"): _tensor,
    (_UTILS, "_rebuild_tensor_v2"): _tensor_v2,
    (_UTILS, "_rebuild_tensor_v3"): _tensor_v3,
    (_UTILS, "_rebuild_parameter"): _parameter,
    (_UTILS, "_rebuild_parameter_with_state"): _parameter,
    (_UTILS, "_rebuild_buffer"): _buffer,
    (_UTILS, "_rebuild_sparse_tensor"): _sparse,
    (_UTILS, "_rebuild_sparse_csr_tensor"): _sparse,
    (_UTILS, "_rebuild_qtensor"): _quantized,
    (_UTILS, "_rebuild_meta_tensor_no_storage"): _meta,
    (_UTILS, "_rebuild_nested_tensor"): _nested,
    (_UTILS, "_rebuild_wrapper_subclass"): _wrapper,
    (_UTILS, "_rebuild_device_tensor_from_numpy"): _device_tensor,
    (_UTILS, "_rebuild_device_tensor_from_cpu_tensor"): _device_tensor,
    (_UTILS, "_rebuild_xla_tensor"): _device_tensor,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch.storage", "_load_from_bytes"): _nested_storage,
    ("torch.nn.parameter", "Parameter"): _parameter,
    ("torch.autograd.variable", "Variable"): _parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("torch.serialization", "_get_layout"): _layout,
    **{
        ("torch", name): _old_tensor(name)
        for name in [
            "FloatTensor",
            "DoubleTensor",
            "HalfTensor",
            "LongTensor",
            "IntTensor",
            "ShortTensor",
            "CharTensor",
            "ByteTensor",
        ]
    },
}


def _torch_name(kind: str) -> Callable[[str, str], TorchName]:
    return lambda module, name: TorchName(kind, f"{module}.{name}")


VALUES: dict[tuple[str, str], Callable[[str, str], Any]] = {
    **{
        (module, name): Opaque
        for module in ("torch", "torch.cuda", "torch.storage")
        for name in (*BY_STORAGE, *QUANTIZED, "UntypedStorage")
        if name is not None
    },
    ("torch", "Tensor"): Opaque,
    ("torch._tensor", "Tensor"): Opaque,
    **{("torch", name): _torch_name("dtype") for name in (*BY_NAME, *_SUBBYTE)},
    **{
        ("torch", name): _torch_name("layout")
        for name in [
            "strided",
            "sparse_coo",
            "sparse_csr",
            "sparse_csc",
            "sparse_bsr",
            "sparse_bsc",
        ]
    },
    **{
        ("torch", name): _torch_name("memory_format")
        for name in ["contiguous_format", "preserve_format", "channels_last", "channels_last_3d"]
    },
    **{
        ("torch", name): _torch_name("qscheme")
        for name in [
            "per_tensor_affine",
            "per_channel_affine",
            "per_tensor_symmetric",
            "per_channel_symmetric",
            "per_channel_affine_float_qparams",
        ]
    },
}
