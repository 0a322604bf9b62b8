"""torch's first format (0.1): a tar of the pickle, the tensors, the storages and system info.

Source: ``torch/serialization.py`` (``legacy_load``) and POSIX ustar.
"""

from __future__ import annotations

from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.marks import BLOCK, is_tar, octal
from convcore.formats.pickle.reading import Reading
from convcore.formats.pickle.torch_tensors import tensor_of
from convcore.formats.torch_legacy import PickleStream, Storages
from convcore.formats.typed_storage import TypedStorage
from convcore.tensors.byte_source import ByteSource
from convcore.tensors.faults import Malformed, shown
from convcore.tensors.lazy_tensor import LazyTensor

_MOST = 20_000
_WINDOW = 1 << 12  # most pickles of a tar describe one storage or tensor


def read(file: ByteSource, reading: Reading) -> tuple[Any, dict[str, Any]]:
    """Read a tar that torch 0.1 wrote.

    Raises:
        SourceError, Malformed: It is damaged, unsafe, or another tar.
    """
    members = _members(file)
    if not {"pickle", "storages"} <= set(members):
        raise Malformed(
            f"is a tar archive of {', '.join(sorted(members)) or 'nothing'}, not a checkpoint",
            "unpack it and name the checkpoint inside",
        )
    stores = Storages(file)
    objects: dict[Any, Any] = {}
    _read_storages(PickleStream(file, reading, *members["storages"], _WINDOW), stores, objects)
    if "tensors" in members:
        _read_tensors(PickleStream(file, reading, *members["tensors"], _WINDOW), reading, objects)
    reading.resolve = lambda pid: _found(objects, pid)
    stream = PickleStream(file, reading, *members["pickle"])
    tree = stream.load("pickle", lambda pid: _found(objects, pid), text_ids=True)
    return tree, {}


def _members(file: ByteSource) -> dict[str, tuple[int, int]]:
    """Start and end of each plain member."""
    members: dict[str, tuple[int, int]] = {}
    at = 0
    while at + BLOCK <= file.size:
        header = file.read(at, BLOCK)
        if not any(header):
            return members
        if not is_tar(header):
            raise Malformed("a tar header is damaged").at(file.name, offset=at)
        name = header[:100].rstrip(b"\0").decode("latin-1")
        size = octal(header[124:136])
        if header[156:157] not in (b"0", b"\0") or name in members or len(members) > 64:
            raise Malformed(f"the tar member {name!r} is no plain file, or doubled")
        start = at + BLOCK
        if start + size > file.size:
            break
        members[name] = (start, start + size)
        at = start + -(-size // BLOCK) * BLOCK
    raise Malformed(
        f"the tar is cut short at offset {file.size}", "download or copy the file again"
    )


def _count(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise Malformed(f"{shown(value)} {what}")
    return value


def _key(value: Any) -> Any:
    if type(value) not in (str, int) or (type(value) is int and abs(value) >= 1 << 60):
        raise Malformed("a key of the tar is neither text nor a number")
    return value


def _read_storages(stream: PickleStream, stores: Storages, objects: dict[Any, Any]) -> None:
    for _ in range(_count(stream.load("storages"), "storages")):
        described = stream.load("storages")
        if type(described) is not tuple or len(described) != 3:
            raise Malformed("a storage is not described by key, location and type")
        key, _, kind = described
        if _key(key) in objects:
            raise Malformed(f"storage {key} is there twice")
        length = stream.number()
        objects[key] = stores.root(key, kind, length)
        stream.place(objects[key].storage)
    views = stream.load("storages") if stream.position < stream.end else []
    if type(views) is not list:
        raise Malformed("the storage views are no list")
    for view in views:
        if type(view) is not tuple or len(view) != 4:
            raise Malformed("a storage view is no (key, root, offset, length)")
        key, root, offset, length = view
        found = objects.get(_key(root))
        if type(found) is not TypedStorage or _key(key) in objects:
            raise Malformed("a storage view has no root, or its key twice")
        objects[key] = stores.view(key, found, offset, length)


def _read_tensors(stream: PickleStream, reading: Reading, objects: dict[Any, Any]) -> None:
    for _ in range(_count(stream.load("tensors"), "tensors")):
        described = stream.load("tensors")
        if type(described) is not tuple or len(described) != 3 or _key(described[0]) in objects:
            raise Malformed("a tensor is not described by key, storage and type")
        # The number of axes is 32 bits wide, in a field of 64.
        axes = stream.number() & 0xFFFFFFFF
        if axes > reading.budgets.dimensions:
            raise Malformed(f"a tensor of {axes} axes")
        numbers = [stream.number() for _ in range(2 * axes + 1)]
        size, stride, offset = tuple(numbers[:axes]), tuple(numbers[axes:-1]), numbers[-1]
        storage = objects.get(_key(described[1]))
        objects[described[0]] = tensor_of(reading, storage, offset, size, stride)


def _found(objects: dict[Any, Any], pid: Any) -> TypedStorage | LazyTensor | Opaque:
    if type(pid) is tuple:
        if pid and type(pid[0]) is Opaque:
            return pid[0]  # a container; its source path and text are ignored
        if len(pid) >= 5 and pid[0] == "storage":
            pid = pid[2]
    if type(pid) is str and pid not in objects and pid.isdigit() and len(pid) < 19:
        pid = int(pid)
    found = objects.get(_key(pid))
    if found is None:
        raise Malformed(f"the pickle refers to {shown(pid)}, which the tar does not hold")
    return found  # type: ignore[no-any-return]  # only these are put there
