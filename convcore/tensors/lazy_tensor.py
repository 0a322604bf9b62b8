"""Tensors that stay where they are: which bytes of which storage, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import attrs

from convcore.tensors import elements, strided
from convcore.tensors.byte_source import ByteSource, Memory
from convcore.tensors.dtypes import ITEMSIZE
from convcore.tensors.faults import Malformed
from convcore.tensors.spec import TensorSpec, dense_stride
from convcore.tensors.storage import CHUNK, Extent, Storage
from convcore.tensors.strided import boxes, read_box

if TYPE_CHECKING:
    import numpy as np
    import torch


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
        attached: What was saved as attributes of the tensor itself, or None.
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
    attached: Any = attrs.field(default=None, repr=False)

    @classmethod
    def from_bytes(
        cls,
        spec: TensorSpec,
        data: bytes,
        *,
        name: str = "memory",
        key: str = "",
        byteorder: Literal["little", "big"] = "little",
    ) -> LazyTensor:
        """Make a tensor of dense elements in memory.

        Args:
            spec: Type and shape.
            data: Its elements in logical order.
            name: What messages call where they came from.
            key: And what in there.
            byteorder: Of the elements.

        Raises:
            SourceError: There are more or fewer bytes than the shape takes.
        """
        extent = Extent(Memory(data, name), 0, len(data))
        return cls.from_extents(spec, [extent], key=key, byteorder=byteorder)

    @classmethod
    def from_extents(
        cls,
        spec: TensorSpec,
        extents: Iterable[Extent],
        *,
        key: str = "",
        byteorder: Literal["little", "big"] = "little",
    ) -> LazyTensor:
        """Make a tensor of dense elements that lie in extents, one after another.

        Args:
            spec: Type and shape.
            extents: Where the elements lie, in logical order.
            key: What messages call them.
            byteorder: Of the elements.

        Raises:
            SourceError: There are more or fewer bytes than the shape takes.
        """
        tensor = cls(spec, Storage(tuple(extents), key, byteorder), 0, dense_stride(spec.shape))
        if tensor.nbytes != tensor.storage.nbytes:
            raise Malformed(
                f"a {spec.dtype} tensor of shape {list(spec.shape)[:8]} takes {tensor.nbytes}"
                f" bytes, not {tensor.storage.nbytes}"
            ).at(*tensor.place)
        return tensor

    @property
    def place(self) -> tuple[str, str]:
        """What messages call its source, and the record in it."""
        return self.storage.name, self.storage.key

    @property
    def sources(self) -> tuple[ByteSource, ...]:
        """What its bytes are read from."""
        return self.storage.sources

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
        return ITEMSIZE.get(self.spec.dtype, 1)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements written out densely; of an unknown type, those stored."""
        size = ITEMSIZE.get(self.spec.dtype)
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
        return self.readable().span(0, prod(self.shape), size, check=check)

    def span(
        self, first: int, last: int, size: int = CHUNK, *, check: bool = False
    ) -> Iterator[bytes | memoryview]:
        """Yield some of the elements as ``chunks`` yields all.

        Args:
            first: The first element, counted in logical order.
            last: The one after the last.
            size: Bytes per chunk, at most.
            check: As for ``chunks``.

        Raises:
            SourceError: Damaged or changed bytes.
        """
        storage, item = self.storage, self.itemsize
        size = max(item, size - size % item)
        if self.contiguous:
            start, length = (self.offset + first) * item, (last - first) * item
            for part in storage.pieces(start, length, size, check=check):
                yield part if self.plain else self._converted(part)
            return
        if check:
            storage.verify()
        for start_at, shape in boxes(self.shape, max(size, strided.SLAB) // item, first, last):
            flat = self._stored(start_at, shape).reshape(-1).view("u1").data
            for at in range(0, len(flat), size):
                yield self._converted(flat[at : at + size])

    def box(self, start: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Read a part of it: opaque elements of ``itemsize`` bytes, as ``chunks`` hands them out.

        Args:
            start: Its first place along each axis.
            shape: Its size along each axis, none of them 0.
        """
        import numpy as np

        stored = self._stored(start, shape)
        if not (self.conj or self.neg) and (self.storage.byteorder == "little"):
            return stored
        return np.frombuffer(self._converted(stored.tobytes()), stored.dtype).reshape(shape)

    def _stored(self, start: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        offset = self.offset + sum(at * step for at, step in zip(start, self.stride, strict=True))
        return read_box(self.storage, self.itemsize, offset, self.stride, shape)

    def _converted(self, part: bytes | memoryview) -> bytes | memoryview:
        return elements.converted(
            part, self.dtype, self.storage.byteorder, conj=self.conj, neg=self.neg
        )

    def _elements(self) -> bytearray:
        data = bytearray(self.nbytes)
        at = 0
        for part in self.chunks():
            data[at : at + len(part)] = part
            at += len(part)
        return data

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
            ).at(*self.place)
        return self

    def numpy(self) -> np.ndarray[Any, Any]:
        """Its elements as a NumPy array of its own memory.

        Raises:
            SourceError: NumPy has no such type (bfloat16, float8, complex32); see ``raw``.
        """
        self.readable()
        try:
            elements.numpy_type(self.dtype)
            return elements.as_numpy(self._elements(), self.dtype, self.shape)
        except Malformed as fault:
            raise fault.at(*self.place) from fault

    def raw(self) -> np.ndarray[Any, Any]:
        """Its elements' bits as unsigned integers (16-byte elements: pairs on a new axis)."""
        return elements.as_bits(self._elements(), self.itemsize, self.shape)

    def load(self) -> torch.Tensor:
        """Its elements as a torch tensor of its own, writable memory; imports torch."""
        return elements.as_torch(self._elements(), self.dtype, self.shape)


def settle(target: LazyTensor, **values: Any) -> None:
    """Fill in what a file tells later than the tensor (the shape of a tensor of torch 0.1).

    Tensors are frozen for everybody else; while a pickle is read, the memo may already hold the
    object, so that it cannot be replaced.
    """
    for name, value in values.items():
        object.__setattr__(target, name, value)
