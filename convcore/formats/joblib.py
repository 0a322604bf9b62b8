"""joblib's pickles: a stream with the raw bytes of each array behind the array's description.

Source: ``joblib/numpy_pickle.py`` (``NumpyArrayWrapper``), versions 0.10 to 1.6.
"""

from __future__ import annotations

import zlib
from math import prod
from pathlib import Path
from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.budgets import DEFAULT_BUDGETS, Budgets
from convcore.formats.foreign import foreign_bytes
from convcore.formats.format import told_of
from convcore.formats.pickle.numpy_objects import NumpyType, plan
from convcore.formats.pickle.objects import replace
from convcore.formats.pickle.reading import Reading
from convcore.formats.pickle.unpickler import Machine, Paused
from convcore.formats.torch_file import reading_of
from convcore.tensors.byte_source import ByteSource, Memory
from convcore.tensors.dtypes import BY_NUMPY
from convcore.tensors.faults import Malformed
from convcore.tensors.lazy_tensor import LazyTensor
from convcore.tensors.local_file import LocalFile
from convcore.tensors.storage import Extent, Storage

_WRAPPERS = {
    "joblib.numpy_pickle.NumpyArrayWrapper",
    "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper",
}
_GZIP, _ZLIB = b"\x1f\x8b", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


def read_joblib(
    path: str | Path, *, allow_opaque_calls: bool = False, budgets: Budgets = DEFAULT_BUDGETS
) -> Any:
    """Read a file of ``joblib.dump`` or ``pickle.dump`` without importing what it names.

    Estimators become ``Opaque`` objects whose state is data; arrays become ``LazyTensor`` objects.

    Args:
        path: An uncompressed file, or one compressed by zlib or gzip.
        allow_opaque_calls: Read files that name code-running callables too; nothing is run.
        budgets: How much the file may ask for.

    Raises:
        SourceError: No pickle, damaged, or unsafe.
        UsageError: There is no such file.
    """
    path = Path(path)
    with told_of(path):
        file = _inflated(LocalFile(path), budgets)
        reading = reading_of(path, budgets, allow_opaque_calls)
        tree, end = _load(file, reading)
        if end != file.size:
            raise Malformed(f"{file.size - end} bytes follow the pickle").at(path, offset=end)
        reading.refuse_alarms()
        return tree


def _inflated(file: ByteSource, budgets: Budgets) -> ByteSource:
    head = file.read(0, min(file.size, 1024))
    if head[:1] == b"\x80" or head[:2] in (b"(d", b"(i", b"cc"):
        return file
    if head[:2] != _GZIP and head[:2] not in _ZLIB:
        raise foreign_bytes(head, file.size)
    engine = zlib.decompressobj(zlib.MAX_WBITS | 32)
    made, at = bytearray(), 0
    try:
        while at < file.size and not engine.eof:
            packed = file.read(at, min(1 << 16, file.size - at))
            at += len(packed)
            made += engine.decompress(packed, budgets.inflated_bytes + 1 - len(made))
            if len(made) > budgets.inflated_bytes or engine.unconsumed_tail:
                raise Malformed(f"inflates to more than {budgets.inflated_bytes >> 20} MiB")
    except zlib.error as error:
        raise Malformed(f"cannot be inflated: {error}") from error
    if not engine.eof or engine.unused_data or at < file.size:
        raise Malformed("is cut short, or other bytes follow the compressed ones")
    return Memory(bytes(made), file.name)


def _load(file: ByteSource, reading: Reading) -> tuple[Any, int]:
    machine = Machine(b"", reading, record="pickle", source=file)
    machine.pause = lambda built: built.qualified_name in _WRAPPERS
    machine.resume(0)
    position = 0
    while True:
        try:
            value, end = machine.load(position)
        except Paused as paused:
            begin = machine.base + int(paused.args[0])
            wrapper = machine.stack[-1]
            try:
                array, end = _array(file, reading, wrapper, begin)
                replace(machine, wrapper, array)
                machine.resume(end)
            except Malformed as fault:
                raise fault.at(file.name, "array", begin) from fault
            position = 0
        else:
            return value, machine.base + end


def _array(file: ByteSource, reading: Reading, wrapper: Opaque, at: int) -> tuple[Any, int]:
    """The array whose bytes begin near ``at``, and where they end."""
    state = wrapper.state
    kind = state.get("dtype") if isinstance(state, dict) else None
    if type(kind) is not NumpyType:
        raise Malformed("an array is described without its dtype")
    if kind.name is None:
        return _objects(file, reading, kind, at)
    if state.get("order") not in ("C", "F"):
        raise Malformed("an array is in neither C nor Fortran order")
    spec, stride = plan(reading, state.get("shape"), kind, state["order"] == "F")
    nbytes = prod(spec.shape) * BY_NUMPY[kind.name].itemsize
    # Since joblib 1.2 a byte says how many more bytes were put in to align the array.
    if state.get("numpy_array_alignment_bytes") is not None:
        if at >= file.size:
            raise Malformed(f"the file is cut short at offset {file.size}")
        at += 1 + file.read(at, 1)[0]
    if at + nbytes > file.size:
        raise Malformed(
            f"the file is cut short at offset {file.size}: an array of {nbytes} bytes"
            f" begins at {at}"
        )
    storage = Storage((Extent(file, at, nbytes),), f"array at {at}", kind.byteorder)
    return LazyTensor(spec, storage, 0, stride, numpy_array=True), at + nbytes


def _objects(file: ByteSource, reading: Reading, kind: NumpyType, at: int) -> tuple[Any, int]:
    """An array of objects is a pickle of its own; one of records is not read."""
    if kind.text[:1] != "O" or not kind.plain:
        raise Malformed(f"an array of {kind.text[:20]!r} is not read", "save numbers or objects")
    machine = Machine(b"", reading, record="pickle of an array", source=file)
    machine.resume(at)
    value, end = machine.load()
    return value, machine.base + end
