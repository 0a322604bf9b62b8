"""Weight files: copying tensors into them without torch, and proving the copy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.archive import LazyTensor, open_archive, walk_tensors
from convcore.errors import SourceError, VerificationError
from convcore.model import LayoutMatch
from convcore.names import counted, few, shared_prefix
from convcore.target import Check

if TYPE_CHECKING:
    import numpy as np

# Views may repeat what is stored (an expanded mask); beyond this a few bytes would fill the disk.
_REPEATED, _SMALL = 16, 256 << 20
# Small enough to stay in the cache, and for the allocator to give the same memory again and again.
PIECE = 64 << 10
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create(path: Path) -> int:
    """Create a file that is not there yet and return its descriptor; links are not followed."""
    return os.open(path, _NEW, 0o666)


def local_names(match: LayoutMatch, component: str) -> dict[str, str]:
    """Map a component's names in its own file to names in the checkpoint.

    Keys the layout drops are left out; the prefix that all keys share is removed, as far as
    the component does not keep it.
    """
    keys = [key for key in match.states[component] if key not in match.dropped]
    part = next(part for part in match.layout.components if part.name == component)
    prefix = "" if part.whole_names else shared_prefix(keys).removesuffix(part.keep)
    return {key[len(prefix) :]: key for key in keys}


def file_stem(match: LayoutMatch, component: str) -> str:
    """Return the stem of a component's weight file: the origin's where it has one."""
    part = next(part for part in match.layout.components if part.name == component)
    return part.file or part.name


def supported(tensors: Mapping[str, LazyTensor]) -> None:
    """Refuse tensors whose bytes cannot be taken as they lie.

    Raises:
        SourceError: Some are sparse, quantized, nested, on the meta device or of a subclass.
    """
    odd = [
        f"{name}: {tensor.unsupported}" for name, tensor in tensors.items() if tensor.unsupported
    ]
    if odd:
        raise SourceError(
            f"{counted(len(odd), 'tensor')} of a kind that is not supported: {few(odd)}",
            seen=odd,
            remedy="take the other components with --component, or save these tensors dense",
        )


def bounded(tensors: Mapping[str, LazyTensor]) -> None:
    """Refuse views that repeat so few stored bytes so often that nobody can mean to write them.

    Raises:
        SourceError: Written out, they have more than 256 MiB and 16 times what is stored.
    """
    read = {name: tensor for name, tensor in tensors.items() if not tensor.unsupported}
    storages = {id(tensor.storage): tensor.storage.nbytes for tensor in read.values()}
    views = {tensor.identity: (tensor.nbytes, name) for name, tensor in read.items()}
    stored, written = sum(storages.values()), sum(nbytes for nbytes, _ in views.values())
    if written > _SMALL + _REPEATED * stored:
        nbytes, name = max(views.values())
        raise SourceError(
            f"{read[name].storage.file.path.name}: {stored:,} bytes would be written as "
            f"{written:,}, since views repeat them: {name} alone has {nbytes:,}",
            remedy="save it unexpanded, or as a clone if every element is meant",
            kind="unsafe",
        )


def groups(tensors: Mapping[str, LazyTensor]) -> Iterator[tuple[str, list[str]]]:
    """Group names that show the same elements: the first name, then its aliases."""
    by_identity: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        by_identity.setdefault(tensor.identity if tensor.nbytes else name, []).append(name)
    for names in by_identity.values():
        yield names[0], names[1:]


def copy(tensor: LazyTensor, descriptor: int) -> int:
    """Append a tensor's bytes (logical order, little endian) to a file; return how many."""
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    tensor.copy_to(descriptor)
    written = os.lseek(descriptor, 0, os.SEEK_CUR) - before
    if written != tensor.nbytes:
        raise VerificationError(
            f"{written:,} bytes were written for a tensor of {tensor.nbytes:,}",
            remedy="run again; the input may have changed while it was read",
        )
    return written


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
        written = found[key].chunks(PIECE)
        for there, here in zip(written, tensor.chunks(PIECE, check=True), strict=True):
            if there != here:
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
