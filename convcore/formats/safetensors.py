"""The safetensors format: a JSON header, then the bytes of all tensors without holes.

Source: the format description in the safetensors project's README.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from convcore.formats.archive import Archive
from convcore.formats.budgets import Budgets
from convcore.formats.format import FormatSession, told_of
from convcore.formats.json_text import parse
from convcore.formats.location import Location
from convcore.tensors.byte_source import ByteSource
from convcore.tensors.dtypes import BY_SAFETENSORS
from convcore.tensors.faults import Malformed
from convcore.tensors.lazy_tensor import LazyTensor
from convcore.tensors.spec import TensorSpec, dense_stride
from convcore.tensors.storage import Extent, Storage

# What our writer adds to the metadata where a note of an alias could be taken for anything else.
MARK, MARKED = "convcore", "aliases"
# Metadata of these names is never an alias.
RESERVED = ("format", MARK)


def open_safetensors(location: Location, session: FormatSession) -> Archive:
    """Open a safetensors file.

    Raises:
        SourceError: Its header breaks a rule.
    """
    with told_of(location):
        tensors, metadata = read(location.open(), session.budgets)
    return Archive(Path(str(location)), "safetensors", tensors, {}, metadata)


def read(file: ByteSource, budgets: Budgets) -> tuple[dict[str, LazyTensor], dict[str, Any]]:
    """Read a safetensors file.

    Returns:
        Tensors by name in the order of the header, then those that ``__metadata__`` says share
        another's bytes, and ``__metadata__`` itself.

    Raises:
        Malformed: The header breaks a rule, or does not describe exactly the bytes there are.
    """
    length = int.from_bytes(file.read(0, 8), "little")
    if length > budgets.json_bytes:
        raise Malformed(f"the header is said to have {length} bytes")
    if 8 + length > file.size:
        raise Malformed(
            f"the header is cut short at offset {file.size}", "download or copy the file again"
        )
    header = parse(file.read(8, length), budgets)
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise Malformed("the header is no object of tensors and text metadata")
    tensors, ranges = {}, []
    for name, described in header.items():
        try:
            tensor = _tensor(file, described, 8 + length, budgets, name)
        except Malformed as fault:
            raise fault.at(file.name, name) from fault
        tensors[name] = tensor
        extent = tensor.storage.extents[0]
        ranges.append((extent.position, extent.nbytes, name))
    _check_cover(file, ranges, 8 + length)
    tensors |= {name: tensors[kept] for name, kept in _aliases(metadata, tensors)}
    return tensors, metadata


def alike(name: str, kept: str) -> bool:
    """Whether two names are those of parameters that may be tied: both dotted, ending alike."""
    owner, _, last = name.rpartition(".")
    return bool(owner) and kept.endswith(f".{last}")


def _aliases(metadata: dict[str, str], tensors: dict[str, LazyTensor]) -> Iterator[tuple[str, str]]:
    """Yield names that share another tensor's bytes, which the format leaves out, and whose.

    ``{"best_layer": "a.weight"}`` is somebody's note and no tensor: a name counts where convcore
    wrote the file, or where both are names of parameters that end alike.

    Source: huggingface_hub's ``save_torch_state_dict`` notes ``{dropped name: kept name}`` for tied
    weights.
    """
    ours = metadata.get(MARK) == MARKED
    for name, kept in metadata.items():
        if name in RESERVED or name in tensors or kept not in tensors:
            continue
        if ours or alike(name, kept):
            yield name, kept


def _tensor(
    file: ByteSource, described: Any, start: int, budgets: Budgets, name: str
) -> LazyTensor:
    if not isinstance(described, dict) or set(described) != {"dtype", "shape", "data_offsets"}:
        raise Malformed("is not described by dtype, shape and data_offsets")
    code, shape, offsets = described["dtype"], described["shape"], described["data_offsets"]
    dtype = BY_SAFETENSORS.get(code) if isinstance(code, str) else None
    if not _are_sizes(shape) or len(shape) > budgets.dimensions:
        raise Malformed("has an impossible shape")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise Malformed("has impossible offsets")
    begin, nbytes = start + offsets[0], offsets[1] - offsets[0]
    storage = Storage((Extent(file, begin, nbytes),), name)
    stride = dense_stride(tuple(shape))
    if dtype is None:
        spec = TensorSpec(str(code)[:20], tuple(shape))
        return LazyTensor(spec, storage, 0, stride, unsupported=f"of type {str(code)[:20]!r}")
    if prod(shape) * dtype.itemsize != nbytes:
        raise Malformed(f"of shape {shape[:8]} and type {code} lies in {nbytes} bytes")
    return LazyTensor(TensorSpec(dtype.name, tuple(shape)), storage, 0, stride)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 1 << 63 for value in values
    )


def _check_cover(file: ByteSource, ranges: list[tuple[int, int, str]], start: int) -> None:
    """Every byte after the header belongs to exactly one tensor."""
    reached = start
    for begin, nbytes, name in sorted(ranges):
        if begin != reached:
            what = "overlaps another" if begin < reached else "follows a hole"
            raise Malformed(what).at(file.name, name, begin)
        reached = begin + nbytes
    if reached > file.size:
        raise Malformed(
            f"is cut short at offset {file.size}; its header describes {reached} bytes",
            "download or copy the file again",
        )
    if reached != file.size:
        raise Malformed(f"{file.size - reached} bytes follow the last tensor")
