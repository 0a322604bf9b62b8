"""Lazy tensors as arrays in memory, for those who compute with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convcore.archive.dtypes import BY_NAME
from convcore.archive.faults import Malformed
from convcore.archive.lazy import LazyTensor

if TYPE_CHECKING:
    import numpy as np
    import torch


def _elements(tensor: LazyTensor) -> bytearray:
    data = bytearray(tensor.nbytes)
    at = 0
    for part in tensor.chunks():
        data[at : at + len(part)] = part
        at += len(part)
    return data


def as_numpy(tensor: LazyTensor) -> np.ndarray[Any, Any]:
    """Read a tensor into a NumPy array; see ``LazyTensor.numpy``."""
    import numpy as np

    return np.frombuffer(_elements(tensor), numpy_type(tensor)).reshape(tensor.shape)


def numpy_type(tensor: LazyTensor) -> np.dtype[Any]:
    """NumPy's type for a tensor's elements, little endian.

    Raises:
        SourceError: It has none (bfloat16, float8, complex32).
    """
    import numpy as np

    dtype = BY_NAME.get(tensor.dtype)
    if dtype is None or dtype.numpy is None:
        raise Malformed(
            f"NumPy has no type {tensor.dtype}",
            "take load() for a torch tensor, raw() for its bits",
        ).at(tensor.storage.file.path, tensor.storage.key)
    return np.dtype(dtype.numpy).newbyteorder("<")


def as_bits(tensor: LazyTensor) -> np.ndarray[Any, Any]:
    """Read a tensor's bits into a NumPy array; see ``LazyTensor.raw``."""
    import numpy as np

    data, item = _elements(tensor), tensor.itemsize
    if item > 8:
        return np.frombuffer(data, "<u8").reshape(*tensor.shape, item // 8)
    return np.frombuffer(data, f"<u{item}").reshape(tensor.shape)


def as_torch(tensor: LazyTensor) -> torch.Tensor:
    """Read a tensor into torch; see ``LazyTensor.load``."""
    import torch

    dtype = getattr(torch, tensor.dtype)
    data = _elements(tensor)
    if not data:
        return torch.empty(tensor.shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(tensor.shape)
