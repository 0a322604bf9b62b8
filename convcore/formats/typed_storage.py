"""Storages as pickles name them: bytes seen as elements of one type."""

from __future__ import annotations

import attrs

from convcore.tensors.dtypes import DType
from convcore.tensors.lazy_tensor import LazyTensor
from convcore.tensors.spec import TensorSpec
from convcore.tensors.storage import Storage


@attrs.define(eq=False)
class TypedStorage:
    """A storage with the type of its elements, or a view of some of them."""

    storage: Storage
    dtype: DType
    offset: int
    length: int

    def tensor(self) -> LazyTensor:
        """All its elements, as a tensor of one axis."""
        spec = TensorSpec(self.dtype.name, (self.length,))
        return LazyTensor(spec, self.storage, self.offset, (1,))
