"""Weight files: copying tensors into them without torch, and proving the copy."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from convcore.archive import LazyTensor
from convcore.errors import SourceError, VerificationError
from convcore.model import LayoutMatch
from convcore.names import shared_prefix
from convcore.target import Check

PIECE = 8 << 20
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.frozen
class Placement:
    """A tensor and where its bytes lie in a written file."""

    key: str
    tensor: LazyTensor
    position: int


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
            f"{len(odd)} tensors are of a kind that is not supported: {', '.join(odd[:4])}",
            seen=odd,
            remedy="take the other components with --component, or save these tensors dense",
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


def prove(
    path: Path,
    placements: Iterable[Placement],
    note: Callable[[Placement, int], None] = lambda placement, crc: None,
) -> Check:
    """Re-read a written file and compare every byte of every tensor with its source.

    Args:
        path: The file.
        placements: What lies where.
        note: Told each tensor's CRC-32, once it is known to be right.

    Raises:
        VerificationError: A byte differs.
    """
    count = nbytes = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for placement in placements:
            position, crc = placement.position, 0
            for piece in placement.tensor.chunks(PIECE):
                there = os.pread(descriptor, len(piece), position)
                if there != piece:
                    raise VerificationError(
                        f"{path.name}: {placement.key} differs from its source "
                        f"near byte {position}",
                        remedy="run again; the disk or the input changed while it was written",
                    )
                crc = zlib.crc32(there, crc)
                position += len(there)
            note(placement, crc)
            count += 1
            nbytes += position - placement.position
    finally:
        os.close(descriptor)
    return Check(path.name, "bytes equal to source", True, {"tensors": count, "bytes": nbytes})
