"""Proving that a written file holds its source's tensors: by bytes, whatever the format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.archive import LazyTensor, open_archive, walk_tensors
from convcore.archive.in_step import in_step
from convcore.errors import VerificationError
from convcore.target import Check
from convcore.weights.files import PIECE

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
        pair = found[key].identity, tensor.identity
        if pair in compared:
            continue
        compared.add(pair)
        source = tensor.chunks(PIECE, check=True)
        if any(there != here for there, here in in_step(found[key].chunks(PIECE), source)):
            raise _differs(path, key, "other bytes than its source")
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
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for key, tensor in expected.items():
            position = starts[key]
            for here in tensor.chunks(PIECE, check=True):
                if os.pread(descriptor, len(here), position) != here:
                    raise _differs(path, key, "other bytes than its source")
                position += len(here)
    finally:
        os.close(descriptor)
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
        there, here = found[key], tensor.numpy()
        if (there.dtype, there.shape) != (here.dtype, here.shape):
            said = f"{there.dtype} {there.shape} in place of {here.dtype} {here.shape}"
            raise _differs(path, key, said)
        if there.tobytes() != here.tobytes():
            raise _differs(path, key, "other bits than its source")
    return _proved(path, expected)


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
