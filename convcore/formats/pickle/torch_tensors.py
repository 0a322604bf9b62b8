"""torch's rebuild functions as data: dense tensors, parameters, and the tensors of torch 0.1.

Source of argument orders: ``torch/_utils.py`` and ``torch/autograd/variable.py``, 0.1 to 2.13.
"""

from __future__ import annotations

from typing import Any

import attrs

from convcore.formats.pickle.reading import Reading, Rebuild
from convcore.formats.pickle.torch_kinds import UNFINISHED, is_tensor, unread
from convcore.formats.pickle.torch_names import LARGEST, check_count, dtype_named, sizes_of
from convcore.formats.typed_storage import TypedStorage
from convcore.tensors.dtypes import BY_NAME, BY_STORAGE, DType
from convcore.tensors.faults import Malformed, shown
from convcore.tensors.lazy_tensor import LazyTensor, settle
from convcore.tensors.spec import TensorSpec


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
    shape = sizes_of(reading, size, "shape")
    steps = sizes_of(reading, stride, "stride")
    if len(shape) != len(steps):
        raise Malformed(f"a tensor has {len(shape)} sizes and {len(steps)} strides")
    if type(offset) is not int or not 0 <= offset < LARGEST:
        raise Malformed(f"a tensor begins at element {shown(offset)}")
    kind = storage.dtype if dtype is None else dtype
    if 0 in shape:
        offset = 0  # a view of nothing may begin anywhere, as torch saves and reads it
    reach, count = 1, 1
    for length, step in zip(shape, steps, strict=True):
        if length:
            count *= length
            reach += (length - 1) * step
    if 0 in shape:
        reach = 0
    have = storage.length * storage.dtype.itemsize
    if count >= LARGEST or (offset + reach) * kind.itemsize > have:
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
    unsupported = None
    if kind.name not in BY_NAME:
        unsupported = "quantized" if kind.name[0] == "q" else f"of type {kind.name}"
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


def _tensor(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    check_count(args, 4, 4, "_rebuild_tensor")
    return tensor_of(reading, *args)


def _tensor_v2(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    check_count(args, 5, 7, "_rebuild_tensor_v2")
    tensor = tensor_of(reading, args[0], args[1], args[2], args[3])
    if args[4] is True:
        settle(tensor, requires_grad=True)
    return _flags(tensor, args[6]) if len(args) == 7 else tensor


def _tensor_v3(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    check_count(args, 7, 8, "_rebuild_tensor_v3")
    tensor = tensor_of(reading, args[0], args[1], args[2], args[3], dtype_named(args[6]))
    if args[4] is True:
        settle(tensor, requires_grad=True)
    return _flags(tensor, args[7]) if len(args) == 8 else tensor


def _quantized(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    check_count(args, 6, 8, "_rebuild_qtensor")
    tensor = tensor_of(reading, *args[:4])
    settle(tensor, unsupported="quantized")
    return tensor


def _parameter(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    """``_rebuild_parameter(data, requires_grad, hooks[, state])``, ``Parameter(data)`` of 0.1."""
    check_count(args, 1, 4, "a parameter")
    data = is_tensor(args[0], "a parameter")
    wanted = args[1] if len(args) > 1 else True
    reading.charged += 300
    state = (args[3] or None) if len(args) > 3 else None
    return attrs.evolve(data, parameter=True, requires_grad=wanted is True, attached=state)


def _buffer(reading: Reading, args: tuple[Any, ...]) -> LazyTensor:
    check_count(args, 1, 3, "a buffer")
    return is_tensor(args[0], "a buffer")


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


def _nested_storage(reading: Reading, args: tuple[Any, ...]) -> Any:
    """``torch.storage._load_from_bytes``: a whole torch file inside a bytes object."""
    check_count(args, 1, 1, "_load_from_bytes")
    if type(args[0]) not in (bytes, bytearray) or reading.nested is None:
        raise Malformed("a storage is loaded from something that is not bytes")
    reading.charged += 10_000 + 6 * len(args[0])
    return reading.nested(reading, bytes(args[0]))


_UTILS = "torch._utils"
RECIPES: dict[tuple[str, str], Rebuild] = {
    (_UTILS, "_rebuild_tensor"): _tensor,
    (_UTILS, "_rebuild_tensor_v2"): _tensor_v2,
    (_UTILS, "_rebuild_tensor_v3"): _tensor_v3,
    (_UTILS, "_rebuild_qtensor"): _quantized,
    (_UTILS, "_rebuild_parameter"): _parameter,
    (_UTILS, "_rebuild_parameter_with_state"): _parameter,
    (_UTILS, "_rebuild_buffer"): _buffer,
    ("torch.storage", "_load_from_bytes"): _nested_storage,
    ("torch.nn.parameter", "Parameter"): _parameter,
    ("torch.autograd.variable", "Variable"): _parameter,
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
