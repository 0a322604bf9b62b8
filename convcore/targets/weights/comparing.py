"""Proving that a written file holds its source's tensors: by bytes, whatever the format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.errors import SourceError, VerificationError
from convcore.formats import open_archive, walk_tensors
from convcore.targets.check import Check, CheckKind
from convcore.targets.target import LedgerEntry
from convcore.targets.weights.bitwise import place_of, same_bits
from convcore.tensors import Extent, LazyTensor, LocalFile, TensorSpec
from convcore.tensors.dtypes import BY_NAME
from convcore.tensors.elements import numpy_type
from convcore.tensors.faults import Malformed

if TYPE_CHECKING:
    import numpy as np

# What is said of a file that holds its source's bytes and nothing else.
_HELD = ("written", "alias", "cast")


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
    specs = {key: (tensor.spec, starts[key]) for key, tensor in expected.items()}
    for key, found in lying(path, specs).items():
        if not same_bits(found, expected[key]):
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
        if not same_bits(from_arrays(path, {key: there})[key], tensor):
            raise _differs(path, key, "other bits than its source")
    return _proved(path, expected)


def _numpy_type(tensor: LazyTensor) -> np.dtype[Any]:
    try:
        return numpy_type(tensor.dtype)
    except Malformed as fault:
        raise fault.at(*tensor.place) from fault


def differing(
    rows: Iterable[LedgerEntry],
    found: Mapping[str, LazyTensor],
    sources: Mapping[str, LazyTensor],
) -> Iterator[str]:
    """Yield the tensors of a file that are not what the ledger says.

    What is written or an alias has the bits of its source, what is cast those after the cast (which
    takes torch); what is folded only shows in what the file computes.

    Args:
        rows: Of the ledger, all of one file.
        found: Key in the file to tensor.
        sources: Name, as the rows have it, to tensor; those that are not there are passed over.
    """
    for row in rows:
        source = sources.get(row.tensor or "")
        if row.tensor is None or source is None or row.state not in _HELD:
            continue
        there = found.get(row.key or "")
        if there is not None and row.state == "cast" and there.shape == source.shape:
            import torch

            wide = source.load().to(getattr(torch, there.dtype)).contiguous()
            if wide.reshape(-1).view(torch.uint8).numpy().tobytes() == b"".join(there.chunks()):
                continue
        elif there is not None and there.spec == source.spec and same_bits(there, source):
            continue
        yield row.tensor


def lying(path: Path, places: Mapping[str, tuple[TensorSpec, int]]) -> dict[str, LazyTensor]:
    """Return tensors that lie in a file as they are, dense and little endian.

    Args:
        path: The file.
        places: Key to type and shape, and to the offset of the first byte.
    """
    file = LocalFile(path)
    known: dict[tuple[TensorSpec, int], LazyTensor] = {}  # names of the same bytes share one
    found = {}
    for key, (spec, start) in places.items():
        if (spec, start) not in known:
            extent = Extent(file, start, prod(spec.shape) * BY_NAME[spec.dtype].itemsize)
            known[spec, start] = LazyTensor.from_extents(spec, [extent], key=key)
        found[key] = known[spec, start]
    return found


def from_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, LazyTensor]:
    """Return arrays, which a library read from a file, as tensors.

    Args:
        path: The file, named in errors.
        arrays: Key to array.

    Raises:
        SourceError: An array's type is none of torch's.
    """
    found = {}
    for key, array in arrays.items():
        if array.dtype.name not in BY_NAME:
            raise SourceError(
                f"{path.name}: {key} holds {array.dtype.name}, which is no type of a tensor",
                remedy="take a file that was written from tensors",
            )
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        spec = TensorSpec(array.dtype.name, array.shape)
        found[key] = LazyTensor.from_bytes(spec, data, name=str(path), key=key)
    return found


def _proved(path: Path, expected: Mapping[str, LazyTensor]) -> Check:
    nbytes = sum(tensor.nbytes for tensor in expected.values())
    figures = {"tensors": len(expected), "bytes": nbytes}
    return Check(path.name, "bytes equal to source", True, figures, CheckKind.BYTES)


def _differs(path: Path, key: str, how: str) -> VerificationError:
    return VerificationError(
        f"{path.name} is not what was to be written: {key} has {how}",
        remedy="run again; the disk or the input changed while it was written",
    )
