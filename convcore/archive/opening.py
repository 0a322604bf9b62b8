"""Deciding by its bytes what a file is, and opening it as one tree of lazy tensors."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convcore.archive.budgets import DEFAULT_BUDGETS, Budgets
from convcore.archive.faults import DOWNLOAD_AGAIN, Malformed
from convcore.archive.source_file import SourceFile
from convcore.archive.values import Archive

_HEAD = 1024
UNFORESEEN = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip
_MAGIC_BINARY = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
_MAGIC_TEXT = b"119547037146038801333356"


def open_archive(
    path: str | Path, *, allow_opaque_calls: bool = False, budgets: Budgets = DEFAULT_BUDGETS
) -> Archive:
    """Open a checkpoint without reading its tensors and without running anything in it.

    Args:
        path: A file of ``torch.save`` (any version) or safetensors, an index file of shards, or a
            folder that holds one.
        allow_opaque_calls: Open files that name code-running callables too; nothing is run.
        budgets: How much the file may ask for.

    Raises:
        SourceError: No checkpoint, damaged, or unsafe.
        UsageError: There is no such file, or a folder holds no index.
    """
    path = Path(path)
    try:
        from convcore.archive.shards import is_index, open_shards

        if path.is_dir() or is_index(path):
            return open_shards(path, allow_opaque_calls, budgets)
        return open_file(SourceFile(path), allow_opaque_calls, budgets)
    except Malformed as fault:
        raise fault.at(path) from fault
    except UNFORESEEN as error:
        # Refused as a whole: whatever a reader did not foresee is a fault of the file's bytes.
        raise Malformed(f"cannot be read ({type(error).__name__})", DOWNLOAD_AGAIN).at(
            path
        ) from error


def open_file(file: SourceFile, allow_opaque_calls: bool, budgets: Budgets) -> Archive:
    """Open one file that is already open for reading."""
    head = file.read(0, min(_HEAD, file.size))
    from convcore.archive.safetensors import is_safetensors

    if is_safetensors(head, file.size):
        from convcore.archive import safetensors

        tensors, told = safetensors.read(file, budgets)
        return Archive(file.path, "safetensors", tensors, {}, told)
    name, read = _reader(head, file)
    from convcore.archive.pickles.recognised import new_reading

    reading = new_reading(file.path, budgets, allow_opaque_calls=allow_opaque_calls)
    reading.nested = nested
    tree, metadata = read(file, reading)
    reading.refuse_alarms()
    return Archive(file.path, name, tree, reading.opaque(), metadata)


def _reader(head: bytes, file: SourceFile) -> tuple[str, Callable[..., tuple[Any, dict[str, Any]]]]:
    if head[:4] == b"PK\3\4":
        from convcore.archive import torch_zip

        return "torch-zip", torch_zip.read
    if _MAGIC_BINARY in head[:64] or _MAGIC_TEXT in head[:64]:
        from convcore.archive import torch_legacy

        return "torch-legacy", torch_legacy.read
    from convcore.archive import torch_tar

    if torch_tar.is_tar(head):
        return "torch-tar", torch_tar.read
    from convcore.archive.foreign import foreign_bytes

    raise foreign_bytes(head, file.size)


def nested(reading: Any, data: bytes) -> Any:
    """A torch file inside a bytes object: the storage it holds."""
    from convcore.archive import torch_legacy, torch_zip

    if reading.nesting >= reading.budgets.nested_pickles:
        raise Malformed("pickles are nested in bytes too deeply")
    file = SourceFile(Path(str(reading.file)), held=data)
    reader = torch_zip if data[:4] == b"PK\3\4" else torch_legacy
    reading.nesting += 1
    try:
        return reader.read(file, reading)[0]
    finally:
        reading.nesting -= 1
