"""torch's zip format (torch 1.6 and later): one pickle, one record per storage.

Source: ``torch/serialization.py`` (``_load``, ``_save``) and ``caffe2/serialize``.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from convcore.formats.budgets import Budgets
from convcore.formats.pickle.reading import Reading
from convcore.formats.pickle.torch_names import storage_type
from convcore.formats.pickle.unpickler import Machine
from convcore.formats.typed_storage import TypedStorage
from convcore.formats.zip_records import Record, read_directory, read_record
from convcore.tensors.byte_source import ByteSource
from convcore.tensors.faults import Malformed, shown
from convcore.tensors.storage import Extent, Storage

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,200}", re.ASCII)


def read(file: ByteSource, reading: Reading) -> tuple[Any, dict[str, Any]]:
    """Read a zip archive.

    Returns:
        The object tree, and what the archive says of itself.

    Raises:
        SourceError, Malformed: It is damaged, unsafe, or not written by ``torch.save``.
    """
    budgets = reading.budgets
    records = read_directory(file, budgets)
    root = _root(records)
    metadata = {
        name: _small(file, records, root + name, budgets)
        for name in ("version", "byteorder")
        if root + name in records
    }
    order = metadata.get("byteorder", "little")
    if order not in ("little", "big"):
        raise Malformed(f"the byte order is {order!r}")
    record = records[root + "data.pkl"]
    try:
        pickled = read_record(file, record, budgets.pickle_bytes)
    except Malformed as fault:
        raise fault.at(reading.file, record.name) from fault
    stores = _Storages(file, records, root, "big" if order == "big" else "little", reading)
    machine = Machine(pickled, reading, record=record.name, persistent=stores.find)
    tree, end = machine.load()
    if end != len(pickled):
        raise Malformed(f"{len(pickled) - end} bytes follow the pickle").at(
            reading.file, record.name, end
        )
    return tree, metadata


def _root(records: dict[str, Record]) -> str:
    """The folder that holds ``data.pkl``, with its slash."""
    for name in records:
        folder, _, last = name.partition("/")
        if last == "data.pkl":
            root = f"{folder}/"
            if root + "constants.pkl" in records or any(
                name.startswith(root + "code/") for name in records
            ):
                raise torchscript()
            return root
    from convcore.formats.foreign import foreign_zip

    raise foreign_zip(records)


def torchscript() -> Malformed:
    """The refusal of a TorchScript archive."""
    return Malformed(
        "is a TorchScript program (torch.jit.save), not a checkpoint",
        "save its weights: torch.save(torch.jit.load(file).state_dict(), …)",
    )


def _small(file: ByteSource, records: dict[str, Record], name: str, budgets: Budgets) -> str:
    try:
        return read_record(file, records[name], budgets.small_record).decode("ascii").strip()
    except (Malformed, UnicodeDecodeError) as fault:
        what = fault.what if isinstance(fault, Malformed) else "is not text"
        raise Malformed(what).at(file.name, name) from fault


class _Storages:
    """Resolves persistent ids to records."""

    def __init__(
        self,
        file: ByteSource,
        records: dict[str, Record],
        root: str,
        order: Literal["little", "big"],
        reading: Reading,
    ) -> None:
        self.reading = reading
        self.file = file
        self.records = records
        self.prefix = f"{root}data/"
        self.order: Literal["little", "big"] = order
        self.known: dict[str, TypedStorage] = {}

    def find(self, pid: Any) -> TypedStorage:
        """The storage of ``('storage', class, key, location, numel)``."""
        if type(pid) is not tuple or len(pid) != 5 or pid[0] != "storage":
            raise Malformed("a persistent id is not that of a storage")
        _, kind, key, _, numel = pid
        dtype = storage_type(kind)
        if type(numel) is not int or not 0 <= numel < 1 << 60:
            raise Malformed(f"a storage of {shown(numel)} elements")
        known = self.known.get(key) if type(key) is str else None
        if known is None:
            known = self.known[key] = TypedStorage(self._storage(key), dtype, 0, numel)
        if known.storage.nbytes != numel * dtype.itemsize:
            raise Malformed(
                f"storage {key} has {known.storage.nbytes} bytes, the pickle says"
                f" {numel} of {dtype.itemsize}"
            )
        if known.dtype is not dtype:
            # torch never saves this, and reads the type met first for both.
            raise Malformed(
                f"storage {key} is named with two types, {known.dtype.name} and {dtype.name}"
            )
        return known

    def _storage(self, key: Any) -> Storage:
        if type(key) is not str or not _KEY.fullmatch(key) or key in (".", ".."):
            raise Malformed(f"the storage key {shown(key)} is no record name")
        record = self.records.get(self.prefix + key)
        if record is None:
            raise Malformed(f"there is no record {self.prefix}{key}")
        self.reading.charged += 300
        packed = record.packed if record.deflated else 0
        extent = Extent(self.file, record.position, record.size, record.crc, packed)
        return Storage((extent,), record.name, self.order)
