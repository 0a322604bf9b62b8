"""torch's stream before 1.6: five pickles one after another, then the storages.

Source: ``torch/serialization.py`` (``_legacy_load``, ``_legacy_save``). Storages are little endian
on every machine, and their locations are of no interest.
"""

from __future__ import annotations

from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.pickle.reading import Reading
from convcore.formats.pickle.torch_names import storage_type
from convcore.formats.pickle.unpickler import WINDOW, Machine
from convcore.formats.typed_storage import TypedStorage
from convcore.tensors.byte_source import ByteSource
from convcore.tensors.faults import Malformed, shown
from convcore.tensors.storage import Extent, Storage

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class PickleStream:
    """Pickles one after another in a file."""

    def __init__(
        self, file: ByteSource, reading: Reading, start: int, end: int, window: int = WINDOW
    ) -> None:
        self.file = file
        self.reading = reading
        self.position = start
        self.end = end
        self.window = window
        self._ahead = b""

    def load(self, record: str, persistent: Any = None, *, text_ids: bool = False) -> Any:
        """Read the next pickle; the position moves behind it."""
        start, left = self.position, self.end - self.position
        data = self._ahead or self.file.read(start, min(left, self.window))
        machine = Machine(
            data,
            self.reading,
            record=record,
            persistent=persistent,
            source=self.file,
            base=start,
            limit=left,
        )
        machine.text_ids = text_ids
        value, length = machine.load()
        self._ahead = machine.data[length:] if len(machine.data) - length < self.window else b""
        self.position += length
        return value

    def skip(self, length: int) -> None:
        """Move over bytes that are no pickle."""
        self.position += length
        self._ahead = self._ahead[length:] if length < len(self._ahead) else b""

    def number(self) -> int:
        """Read a 64-bit count that stands before a storage."""
        if self.end - self.position < 8:
            raise self.cut_short()
        value = int.from_bytes(self.file.read(self.position, 8), "little", signed=True)
        self.skip(8)
        return value

    def place(self, storage: Storage) -> None:
        """Say that a storage's bytes begin here, and move over them."""
        if self.end - self.position < storage.nbytes:
            raise self.cut_short()
        storage.extents[0].position = self.position
        self.skip(storage.nbytes)

    def cut_short(self) -> Exception:
        """The error for a file that ends in the middle of its storages."""
        return Malformed(
            f"the file is cut short at offset {self.end}", "download or copy the file again"
        ).at(self.reading.file, "storages")


def read(file: ByteSource, reading: Reading) -> tuple[Any, dict[str, Any]]:
    """Read a legacy stream.

    Raises:
        SourceError, Malformed: It is damaged or unsafe.
    """
    stream = PickleStream(file, reading, 0, file.size)
    if stream.load("magic number") != MAGIC:
        raise Malformed("does not begin with torch's magic number")
    if stream.load("protocol version") != _PROTOCOL:
        raise Malformed("has another protocol version than 1001")
    system = stream.load("system info")
    stores = Storages(file)
    tree = stream.load("pickle", stores.find)
    keys = stream.load("storage keys")
    _fill(stream, stores, keys)
    if stream.position != file.size:
        raise Malformed(f"{file.size - stream.position} bytes follow the last storage").at(
            reading.file, offset=stream.position
        )
    little = not isinstance(system, dict) or system.get("little_endian", True)
    return tree, {"saved_on": "little" if little else "big"}


def _fill(stream: PickleStream, stores: Storages, keys: Any) -> None:
    """Give every storage its place, in the order of the key list."""
    if type(keys) is not list:
        raise Malformed("the list of storage keys is none")
    for key in keys:
        _check_key(key)
    if len(set(keys)) != len(keys) or set(keys) != set(stores.roots):
        missing = len(set(stores.roots) - set(keys))
        raise Malformed(
            f"the file holds {len(keys)} storages, its pickle names {len(stores.roots)}"
            f" ({missing} of them missing)"
        )
    for key in keys:
        root = stores.roots[key]
        count = stream.number()
        if count != root.length:
            raise Malformed(
                f"storage {shown(key)} has {count} elements, the pickle says {root.length}"
            )
        stream.place(root.storage)


class Storages:
    """Resolves persistent ids to storages whose bytes come later in the file."""

    def __init__(self, file: ByteSource) -> None:
        self.file = file
        self.roots: dict[str | int, TypedStorage] = {}
        self.views: dict[str | int, TypedStorage] = {}

    def find(self, pid: Any) -> Any:
        """The storage, or the class of a container whose source text is ignored."""
        if type(pid) is not tuple or not pid:
            raise Malformed("a persistent id is not that of a storage")
        kind = pid[0].decode("latin-1") if type(pid[0]) is bytes else pid[0]
        if kind == "module" and 2 <= len(pid) <= 4 and type(pid[1]) is Opaque:
            return pid[1]
        if kind != "storage" or len(pid) not in (5, 6):
            raise Malformed("a persistent id is not that of a storage")
        root = self.root(pid[2], pid[1], pid[4])
        view = pid[5] if len(pid) == 6 else None
        return root if view is None else self._view(root, view)

    def root(self, key: Any, kind: Any, length: Any) -> TypedStorage:
        """The storage of a key; named again, it must have the same size."""
        dtype = storage_type(kind)
        _check_key(key)
        if type(length) is not int or not 0 <= length < 1 << 60:
            raise Malformed(f"a storage of {shown(length)} elements")
        nbytes = length * dtype.itemsize
        root = self.roots.get(key)
        if root is None:
            storage = Storage((Extent(self.file, -1, nbytes),), str(key))  # placed later
            root = self.roots[key] = TypedStorage(storage, dtype, 0, length)
        if root.storage.nbytes != nbytes:
            raise Malformed(
                f"storage {shown(key)} is said to have {root.storage.nbytes} and {nbytes} bytes"
            )
        if root.dtype is not dtype:
            # torch never saves this, and reads the type met first for both.
            raise Malformed(
                f"storage {shown(key)} is named with two types, {root.dtype.name} and {dtype.name}"
            )
        return root

    def _view(self, root: TypedStorage, view: Any) -> TypedStorage:
        """A storage that is part of another: ``(key, offset, length)`` in elements."""
        if type(view) is not tuple or len(view) != 3:
            raise Malformed("a storage view is no (key, offset, length)")
        key, offset, length = view
        _check_key(key)
        return self.view(key, root, offset, length)

    def view(self, key: Any, root: TypedStorage, offset: Any, length: Any) -> TypedStorage:
        """Remember ``length`` elements of a storage, from ``offset`` on, under their own key."""
        if (
            type(offset) is not int
            or type(length) is not int
            or not 0 <= offset <= offset + length <= root.length
        ):
            raise Malformed(
                f"view {shown(offset)}+{shown(length)} leaves its storage of {root.length}"
            )
        known = self.views.get(key)
        made = TypedStorage(root.storage, root.dtype, root.offset + offset, length)
        if known is None:
            self.views[key] = made
        elif (known.storage, known.offset, known.length) != (made.storage, made.offset, length):
            raise Malformed(f"storage view {shown(key)} is described in two ways")
        return made


def _check_key(key: Any) -> None:
    if (type(key) is not str or not 0 < len(key) <= 200) and (
        type(key) is not int or not 0 <= key < 1 << 60
    ):
        raise Malformed(f"the storage key {shown(key)} is neither text nor a number")
