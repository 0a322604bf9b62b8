"""Elements as they are handed out: little endian, conjugated, negated; as NumPy's or torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from convcore.tensors.dtypes import BY_NAME
from convcore.tensors.faults import Malformed

if TYPE_CHECKING:
    import numpy as np
    import torch

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def converted(
    part: bytes | memoryview,
    dtype: str,
    byteorder: Literal["little", "big"],
    *,
    conj: bool,
    neg: bool,
) -> bytes | memoryview:
    """Return whole elements little endian, conjugated and negated where that is asked for."""
    item = BY_NAME[dtype].itemsize
    if not (conj or neg) and (byteorder == "little" or item == 1):
        return part
    import numpy as np

    paired = dtype.startswith("complex")
    width = item // 2 if paired else item
    order = ">" if byteorder == "big" else "<"
    # A copy, in the little-endian order in which it is handed out.
    bits: np.ndarray[Any, Any] = np.frombuffer(part, f"{order}u{width}").astype(f"<u{width}")
    if neg and dtype in _INTEGERS:
        bits = np.negative(bits)
    elif neg:
        bits ^= np.array(1 << (8 * width - 1), f"<u{width}")
    if conj and paired:
        bits[1::2] ^= np.array(1 << (8 * width - 1), f"<u{width}")
    return bits.tobytes()


def numpy_type(dtype: str) -> np.dtype[Any]:
    """NumPy's type of an element type, little endian.

    Raises:
        Malformed: It has none (bfloat16, float8, complex32).
    """
    import numpy as np

    known = BY_NAME.get(dtype)
    if known is None or known.numpy is None:
        raise Malformed(
            f"NumPy has no type {dtype}", "take load() for a torch tensor, raw() for its bits"
        )
    return np.dtype(known.numpy).newbyteorder("<")


def as_numpy(data: bytearray, dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Dense elements as a NumPy array over the same memory.

    Raises:
        Malformed: NumPy has no such type.
    """
    import numpy as np

    return np.frombuffer(data, numpy_type(dtype)).reshape(shape)


def as_bits(data: bytearray, itemsize: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Dense elements' bits as unsigned integers (16-byte elements: pairs on a new axis)."""
    import numpy as np

    if itemsize > 8:
        return np.frombuffer(data, "<u8").reshape(*shape, itemsize // 8)
    return np.frombuffer(data, f"<u{itemsize}").reshape(shape)


def as_torch(data: bytearray, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Dense elements as a torch tensor over the same memory."""
    import torch

    kind = getattr(torch, dtype)
    if not data:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(data, dtype=kind).reshape(shape)
