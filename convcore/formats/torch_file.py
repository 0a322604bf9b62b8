"""What torch's three formats share: their pickles read under one set of rules, and their marks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from convcore.formats import torch_legacy, torch_tar, torch_zip
from convcore.formats.archive import Archive
from convcore.formats.budgets import Budgets
from convcore.formats.format import FormatSession, told_of
from convcore.formats.location import Location
from convcore.formats.marks import is_zip
from convcore.formats.pickle.allowlist import new_reading
from convcore.formats.pickle.reading import Reading
from convcore.tensors.byte_source import ByteSource, Memory
from convcore.tensors.faults import Malformed

_READERS: dict[str, Callable[[ByteSource, Reading], tuple[Any, dict[str, Any]]]] = {
    "torch-zip": torch_zip.read,
    "torch-legacy": torch_legacy.read,
    "torch-tar": torch_tar.read,
}


def open_torch(name: str, location: Location, session: FormatSession) -> Archive:
    """Open a file of torch.

    Args:
        name: Of the format: ``torch-zip``, ``torch-legacy`` or ``torch-tar``.
        location: Where it lies.
        session: Whose budgets are kept.

    Raises:
        SourceError: It is damaged, or unsafe.
    """
    reading = reading_of(location, session.budgets, session.allow_opaque_calls)
    with told_of(location):
        tree, metadata = _READERS[name](location.open(), reading)
        reading.refuse_alarms()
    return Archive(Path(str(location)), name, tree, reading.opaque(), metadata)


def reading_of(file: object, budgets: Budgets, allow_opaque_calls: bool) -> Reading:
    """Return a reading that reads torch files inside bytes too."""
    reading = new_reading(str(file), budgets, allow_opaque_calls=allow_opaque_calls)
    reading.nested = _nested
    return reading


def _nested(reading: Reading, data: bytes) -> Any:
    """A torch file inside a bytes object: the storage it holds."""
    if reading.nesting >= reading.budgets.nested_pickles:
        raise Malformed("pickles are nested in bytes too deeply")
    source = Memory(data, str(reading.file))
    reading.nesting += 1
    try:
        return (torch_zip if is_zip(data) else torch_legacy).read(source, reading)[0]
    finally:
        reading.nesting -= 1
