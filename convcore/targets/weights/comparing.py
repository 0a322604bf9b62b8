"""Proving that a written file holds its source's tensors: by bytes, whatever the format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.errors import VerificationError
from convcore.formats import open_archive, walk_tensors
from convcore.targets.target import Check
from convcore.targets.weights.bitwise import place_of, same_bits
from convcore.tensors import Extent, LazyTensor, LocalFile
from convcore.tensors.elements import numpy_type
from convcore.tensors.faults import Malformed

if TYPE_CHECKING:
    import numpy as np


def prove(path: Path, expected: Mapping[str, LazyTensor]) -> Check:
    """Open a written file as any reader would, and compare every byte with its source.

    Args:
        path: The file.
        expected: Key in the file to the tensor it was copied from; no more and no less.

    Raises:
        VerificationError: A key, type, shape or byte differs.
        SourceError: The source's own CRC-32 does not fit its bytes.
    """
    found = dict(walk_tensors(open_archive(path).tree))
    if found.keys() != expected.keys():
        raise _differs(path, sorted(found.keys() ^ expected.keys())[0], "a key too many or too few")
    compared: set[tuple[object, object]] = set()
    for key, tensor in expected.items():
        if found[key].spec != tensor.spec:
            raise _differs(path, key, f"{found[key].spec} in place of {tensor.spec}")
        # Names that share their elements, here as there, are compared once.
        pair = place_of(found[key].readable()), place_of(tensor.readable())
        if pair not in compared and not same_bits(found[key], tensor):
            raise _differs(path, key, "other bytes than its source")
        compared.add(pair)
    return _proved(path, expected)


def prove_bytes(path: Path, starts: Mapping[str, int], expected: Mapping[str, LazyTensor]) -> Check:
    """Compare bytes that lie in a file as they are, dense and little endian, with their source.

    Args:
        path: The file.
        starts: Key to the offset of its first byte.
        expected: Key to the tensor it was copied from; no more and no less.

    Raises:
        VerificationError: A key or a byte differs.
    """
    if starts.keys() != expected.keys():
        raise _differs(
            path, sorted(starts.keys() ^ expected.keys())[0], "a key too many or too few"
        )
    file = LocalFile(path)
    for key, tensor in expected.items():
        extent = Extent(file, starts[key], tensor.nbytes)
        if not same_bits(LazyTensor.from_extents(tensor.spec, [extent], key=key), tensor):
            raise _differs(path, key, "other bytes than its source")
    return _proved(path, expected)


def prove_arrays(
    path: Path, found: Mapping[str, np.ndarray[Any, Any]], expected: Mapping[str, LazyTensor]
) -> Check:
    """Compare arrays that a format's own library read from a file with their source, bit for bit.

    Args:
        path: The file.
        found: Key to array, as the library gives it.
        expected: Key to the tensor it was made from; no more and no less.

    Raises:
        VerificationError: A key, type, shape or bit differs; NaN equals NaN of the same bits.
    """
    if set(found) != set(expected):
        raise _differs(path, sorted(set(found) ^ set(expected))[0], "a key too many or too few")
    for key, tensor in expected.items():
        there, kind = found[key], _numpy_type(tensor)
        if (there.dtype, there.shape) != (kind, tensor.shape):
            said = f"{there.dtype} {there.shape} in place of {kind} {tensor.shape}"
            raise _differs(path, key, said)
        held = LazyTensor.from_bytes(tensor.spec, there.tobytes(), name=str(path), key=key)
        if not same_bits(held, tensor):
            raise _differs(path, key, "other bits than its source")
    return _proved(path, expected)


def _numpy_type(tensor: LazyTensor) -> np.dtype[Any]:
    try:
        return numpy_type(tensor.dtype)
    except Malformed as fault:
        raise fault.at(*tensor.place) from fault


def _proved(path: Path, expected: Mapping[str, LazyTensor]) -> Check:
    nbytes = sum(tensor.nbytes for tensor in expected.values())
    return Check(
        path.name, "bytes equal to source", True, {"tensors": len(expected), "bytes": nbytes}
    )


def _differs(path: Path, key: str, how: str) -> VerificationError:
    return VerificationError(
        f"{path.name} is not what was to be written: {key} has {how}",
        remedy="run again; the disk or the input changed while it was written",
    )
