"""Tensors that stay where they are: which bytes of which storage, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import attrs

from convcore.archive.dtypes import BY_NAME, DType
from convcore.archive.faults import Malformed
from convcore.archive.source_file import SourceFile
from convcore.archive.values import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

CHUNK = 8 << 20
_QUANTIZED = (
    DType("qint8", 1, "QInt8Storage", None, None),
    DType("quint8", 1, "QUInt8Storage", None, None),
    DType("qint32", 4, "QInt32Storage", None, None),
    DType("quint4x2", 1, "QUInt4x2Storage", None, None),
    DType("quint2x4", 1, "QUInt2x4Storage", None, None),
)
QUANTIZED = {dtype.storage: dtype for dtype in _QUANTIZED}
_ITEMSIZE = {name: dtype.itemsize for name, dtype in BY_NAME.items()} | {
    dtype.name: dtype.itemsize for dtype in _QUANTIZED
}


@attrs.frozen(eq=False)
class Storage:
    """Where the bytes of one storage lie; tensors that share one share this object.

    Attributes:
        file: The open file.
        key: Name of the record, or the key the pickle gives the storage.
        position: Offset of its first byte in the file.
        nbytes: Its size.
        crc: CRC-32 of its bytes, where the container has one.
        byteorder: Of the elements.
        inline: The bytes themselves, where they lay inside the pickle.
        packed: Deflated size in the file; 0 where the bytes lie there as they are.
    """

    file: SourceFile
    key: str
    position: int
    nbytes: int
    crc: int | None = None
    byteorder: Literal["little", "big"] = "little"
    inline: bytes | None = attrs.field(default=None, repr=False)
    packed: int = 0

    def read(self, start: int, length: int) -> bytes:
        """Read bytes of the storage, ``start`` counted from its own beginning."""
        from convcore.archive.stored_bytes import read

        return read(self, start, length)

    def verify(self) -> None:
        """Read the whole storage once and compare its CRC-32; without one, only read it.

        A storage that was found right is not read again.

        Raises:
            SourceError: The bytes are not those that were saved.
        """
        from convcore.archive.stored_bytes import verify

        verify(self)

    def settle_crc(self, found: int) -> None:
        """Compare the CRC-32 that a reading of the whole storage gave with the one saved.

        Raises:
            SourceError: They differ.
        """
        from convcore.archive.stored_bytes import settle_crc

        settle_crc(self, found)


@attrs.frozen(eq=False)
class TypedStorage:
    """A storage as a pickle names it: bytes seen as elements of one type, or a view of them."""

    storage: Storage
    dtype: DType
    offset: int
    length: int

    def tensor(self) -> LazyTensor:
        """All its elements, as a tensor of one axis."""
        spec = TensorSpec(self.dtype.name, (self.length,))
        return LazyTensor(spec, self.storage, self.offset, (1,))


@attrs.frozen(eq=False)
class LazyTensor:
    """A tensor of a file, not read yet.

    Attributes:
        spec: Element type and shape.
        storage: Where its elements lie.
        offset: First element, counted in elements from the start of the storage.
        stride: Step along each axis, in elements.
        conj: Whether the stored elements are the conjugates of the tensor's.
        neg: Whether the stored elements are the negatives of the tensor's.
        requires_grad: As saved.
        parameter: Whether it was an ``nn.Parameter``.
        numpy_array: Whether it was a NumPy array.
        unsupported: What kind of tensor this is whose bytes are not read (``sparse``), or None.
    """

    spec: TensorSpec
    storage: Storage = attrs.field(repr=False)
    offset: int
    stride: tuple[int, ...]
    conj: bool = False
    neg: bool = False
    requires_grad: bool = False
    parameter: bool = False
    numpy_array: bool = False
    unsupported: str | None = None

    @property
    def dtype(self) -> str:
        """Name of the element type as torch spells it, for example ``float32``."""
        return self.spec.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis; ``()`` is a scalar."""
        return self.spec.shape

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return _ITEMSIZE.get(self.spec.dtype, 1)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements written out densely; of an unknown type, those stored."""
        size = _ITEMSIZE.get(self.spec.dtype)
        return self.storage.nbytes if size is None else prod(self.spec.shape) * size

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie in logical order without holes."""
        if 0 in self.spec.shape:
            return True
        step = 1
        for size, stride in zip(reversed(self.spec.shape), reversed(self.stride), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return True

    @property
    def plain(self) -> bool:
        """Whether its bytes in the file are, as they stand, what ``chunks`` yields."""
        return (
            self.contiguous
            and not (self.conj or self.neg)
            and (self.storage.byteorder == "little" or self.itemsize == 1)
        )

    @property
    def covers_storage(self) -> bool:
        """Whether ``storage.crc`` is the CRC-32 of exactly the bytes ``chunks`` yields."""
        return self.offset == 0 and self.nbytes == self.storage.nbytes and self.plain

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for two tensors exactly when they show the same elements of one storage."""
        shape = self.spec.shape
        if 0 in shape:
            return self.storage, self.spec, 0
        steps = tuple(
            step if size > 1 else 0 for size, step in zip(shape, self.stride, strict=True)
        )
        return self.storage, self.spec, self.offset, steps, self.conj, self.neg

    def chunks(self, size: int = CHUNK, *, check: bool = False) -> Iterator[bytes | memoryview]:
        """Yield the elements in logical order, dense, little endian, conjugated and negated.

        Memory stays near ``size`` whatever the strides.

        Args:
            size: Bytes per chunk, at most.
            check: Compare the storage's CRC-32 on the way (no further read where the tensor
                covers its storage, else one read of the storage before the first chunk).

        Raises:
            SourceError: Damaged or changed bytes, or a kind of tensor that is not read.
        """
        from convcore.archive.stored_bytes import chunks

        return chunks(self.readable(), size, check=check)

    def verify_record(self) -> None:
        """Compare the CRC-32 of the whole storage, once; see ``Storage.verify``."""
        self.readable().storage.verify()

    def readable(self) -> LazyTensor:
        """The tensor itself.

        Raises:
            SourceError: Its kind is named by ``unsupported``.
        """
        if self.unsupported is not None:
            raise Malformed(
                f"the tensor of type {self.dtype} and shape {list(self.shape)} is"
                f" {self.unsupported}, which is not read",
                "save it as an ordinary dense tensor, or leave it out",
            ).at(self.storage.file.path, self.storage.key)
        return self

    def numpy(self) -> np.ndarray[Any, Any]:
        """Its elements as a NumPy array of its own memory.

        Raises:
            SourceError: NumPy has no such type (bfloat16, float8, complex32); see ``raw``.
        """
        from convcore.archive.arrays import as_numpy

        return as_numpy(self.readable())

    def raw(self) -> np.ndarray[Any, Any]:
        """Its elements' bits as unsigned integers (16-byte elements: pairs on a new axis)."""
        from convcore.archive.arrays import as_bits

        return as_bits(self.readable())

    def load(self) -> torch.Tensor:
        """Its elements as a torch tensor of its own, writable memory; imports torch."""
        from convcore.archive.arrays import as_torch

        return as_torch(self.readable())


def settle(target: Storage | LazyTensor, **values: Any) -> None:
    """Fill in what the file tells later than the object (a legacy storage's place, a 0.1 tensor).

    The objects are frozen for everybody else; while a pickle is read, the memo may already hold
    the object, so that it cannot be replaced.
    """
    for name, value in values.items():
        object.__setattr__(target, name, value)
