"""torch's names as data: storage classes, dtypes, devices, layouts, sizes.

Source: ``torch/storage.py`` and ``torch/serialization.py`` of torch 0.1 to 2.13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.pickle.reading import Reading, Rebuild
from convcore.formats.pickle.values import TorchName
from convcore.tensors.dtypes import BY_NAME, BY_STORAGE, QUANTIZED, DType
from convcore.tensors.faults import Malformed, shown

_BYTES = BY_NAME["uint8"]
# Bytes of types that are named, counted and not copied.
_UNCOPIED = {
    **dict.fromkeys(("qint8", "quint8", "quint4x2", "quint2x4", "float4_e2m1fn_x2"), 1),
    **dict.fromkeys(("bits8", "bits1x8", "bits2x4", "bits4x2"), 1),
    "bits16": 2,
    "qint32": 4,
}
LARGEST = 1 << 63


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


def dtype_named(value: Any) -> DType:
    """The element type of a ``torch.float32``.

    Raises:
        Malformed: It is none.
    """
    name = value.text.removeprefix("torch.") if type(value) is TorchName else ""
    if name in BY_NAME:
        return BY_NAME[name]
    if name in _UNCOPIED:
        return DType(name, _UNCOPIED[name], None, None, None)
    raise Malformed(f"{shown(value)} is no element type")


def sizes_of(reading: Reading, value: Any, what: str) -> tuple[int, ...]:
    """Sizes or strides of a tensor, each proved to be one.

    Raises:
        Malformed: No tuple of integers in [0, 2**63), or longer than any tensor's.
    """
    if type(value) not in (tuple, list):
        raise Malformed(f"the {what} of a tensor is a {type(value).__name__}")
    if len(value) > reading.budgets.dimensions:
        raise Malformed(f"a tensor has {len(value)} axes")
    for size in value:
        if type(size) is not int or not 0 <= size < LARGEST:
            raise Malformed(f"the {what} of a tensor holds {shown(size)}")
    return tuple(value)


def check_count(args: tuple[Any, ...], least: int, most: int, what: str) -> None:
    """Refuse a function whose number of arguments is not what torch writes."""
    if not least <= len(args) <= most:
        raise Malformed(f"{what} with {len(args)} arguments")


def _size(reading: Reading, args: tuple[Any, ...]) -> tuple[int, ...]:
    check_count(args, 1, 1, "torch.Size")
    size = sizes_of(reading, args[0], "shape")
    reading.charged += 56 + 8 * len(size)
    return size


def _device(reading: Reading, args: tuple[Any, ...]) -> TorchName:
    check_count(args, 1, 2, "torch.device")
    if type(args[0]) is not str or (len(args) == 2 and type(args[1]) is not int):
        raise Malformed("a torch.device is not named by text")
    reading.charged += 100
    return TorchName("device", ":".join(map(str, args))[:100])


def _layout(reading: Reading, args: tuple[Any, ...]) -> TorchName:
    check_count(args, 1, 1, "_get_layout")
    if type(args[0]) is not str:
        raise Malformed("a layout is not named by text")
    reading.charged += 100
    return TorchName("layout", args[0][:100])


RECIPES: dict[tuple[str, str], Rebuild] = {
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("torch.serialization", "_get_layout"): _layout,
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
    **{("torch", name): _torch_name("dtype") for name in (*BY_NAME, *_UNCOPIED)},
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
