"""The element types checkpoints hold, under every name the formats give them."""

from __future__ import annotations

import attrs

from convcore.noun import Noun


@attrs.frozen(eq=False, repr=False)
class DType(Noun):
    """One element type.

    Attributes:
        name: torch's name without ``torch.``, for example ``float32``.
        itemsize: Bytes per element.
        storage: Name of the typed storage class in torch's pickles, or None where torch only
            writes it as untyped (``_rebuild_tensor_v3``).
        safetensors: Code in a safetensors header, or None where that format has none.
        numpy: Name of the NumPy type with the same bits, or None.
    """

    name: str
    itemsize: int
    storage: str | None
    safetensors: str | None
    numpy: str | None


# Source: torch/storage.py (dtype to storage class) and the safetensors format description.
_ALL = (
    DType("float64", 8, "DoubleStorage", "F64", "float64"),
    DType("float32", 4, "FloatStorage", "F32", "float32"),
    DType("float16", 2, "HalfStorage", "F16", "float16"),
    DType("bfloat16", 2, "BFloat16Storage", "BF16", None),
    DType("int64", 8, "LongStorage", "I64", "int64"),
    DType("int32", 4, "IntStorage", "I32", "int32"),
    DType("int16", 2, "ShortStorage", "I16", "int16"),
    DType("int8", 1, "CharStorage", "I8", "int8"),
    DType("uint8", 1, "ByteStorage", "U8", "uint8"),
    DType("uint16", 2, None, "U16", "uint16"),
    DType("uint32", 4, None, "U32", "uint32"),
    DType("uint64", 8, None, "U64", "uint64"),
    DType("bool", 1, "BoolStorage", "BOOL", "bool"),
    DType("complex64", 8, "ComplexFloatStorage", "C64", "complex64"),
    DType("complex128", 16, "ComplexDoubleStorage", None, "complex128"),
    DType("complex32", 4, None, None, None),
    DType("float8_e4m3fn", 1, None, "F8_E4M3", None),
    DType("float8_e5m2", 1, None, "F8_E5M2", None),
    DType("float8_e8m0fnu", 1, None, "F8_E8M0", None),
    DType("float8_e4m3fnuz", 1, None, "F8_E4M3FNUZ", None),
    DType("float8_e5m2fnuz", 1, None, "F8_E5M2FNUZ", None),
)
BY_NAME = {dtype.name: dtype for dtype in _ALL}
BY_STORAGE = {dtype.storage: dtype for dtype in _ALL if dtype.storage}
BY_SAFETENSORS = {dtype.safetensors: dtype for dtype in _ALL if dtype.safetensors}
BY_NUMPY = {dtype.numpy: dtype for dtype in _ALL if dtype.numpy}

# Named and counted, never copied.
_QUANTIZED = (
    DType("qint8", 1, "QInt8Storage", None, None),
    DType("quint8", 1, "QUInt8Storage", None, None),
    DType("qint32", 4, "QInt32Storage", None, None),
    DType("quint4x2", 1, "QUInt4x2Storage", None, None),
    DType("quint2x4", 1, "QUInt2x4Storage", None, None),
)
QUANTIZED = {dtype.storage: dtype for dtype in _QUANTIZED}
ITEMSIZE = {dtype.name: dtype.itemsize for dtype in (*_ALL, *_QUANTIZED)}
