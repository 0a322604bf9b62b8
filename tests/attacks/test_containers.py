from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from convcore.errors import SourceError
from convcore.formats import open_archive
from tests.attacks.assembler import (
    FLOATS,
    MAGIC,
    Entry,
    archive,
    checkpoint,
    legacy,
    mapping,
    name,
    number,
    payload,
    pickled,
    safetensors,
    storage,
    tar,
    tensor,
    text,
    tuple_of,
)

GOOD = pickled(mapping(w=tensor()))
PICKLE = Entry("m/data.pkl", GOOD)
DATA = Entry("m/data/0", FLOATS)


def _refused(tmp_path: Path, data: bytes) -> SourceError:
    path = tmp_path / "bad.pt"
    path.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        open_archive(path)
    assert str(caught.value).startswith(str(path))
    return caught.value


def test_the_assembler_builds_files_that_torch_reads(tmp_path: Path) -> None:
    whole_view = pickled(mapping(w=tensor(_view("v", 0, 4))))
    files = {"zip": checkpoint(GOOD, Entry("m/version", b"3\n")), "legacy": legacy(whole_view)}
    for label, data in files.items():
        path = tmp_path / f"{label}.pt"
        path.write_bytes(data)

        loaded = torch.load(path, weights_only=True)["w"]

        assert loaded.tolist() == open_archive(path).tree["w"].load().tolist() == [1, 2, 3, 4]


ZIPS: dict[str, tuple[bytes, str]] = {
    "local name differs": (
        archive([PICKLE, Entry("m/data/0", FLOATS, local={"name": b"m/data/1"})]),
        "differ",
    ),
    "local method differs": (
        archive([PICKLE, Entry("m/data/0", FLOATS, local={"method": 8})]),
        "differ",
    ),
    "local size differs": (
        archive([PICKLE, Entry("m/data/0", FLOATS, local={"size": 8})]),
        "differ",
    ),
    "local packed size differs": (
        archive([PICKLE, Entry("m/data/0", FLOATS, local={"packed": 8})]),
        "differ",
    ),
    "local checksum differs": (
        archive([PICKLE, Entry("m/data/0", FLOATS, local={"crc": 1})]),
        "differ",
    ),
    "local flags differ": (
        archive([PICKLE, Entry("m/data/0", FLOATS, local={"flags": 1})]),
        "differ",
    ),
    "encrypted": (
        archive([PICKLE, Entry("m/data/0", FLOATS, local={"flags": 1}, central={"flags": 1})]),
        "encrypted",
    ),
    "unknown method": (
        archive([PICKLE, Entry("m/data/0", FLOATS, local={"method": 12}, central={"method": 12})]),
        "method 12",
    ),
    "checksum of the pickle": (
        archive([Entry("m/data.pkl", GOOD, local={"crc": 1}, central={"crc": 1}), DATA]),
        "CRC-32",
    ),
    "doubled record": (archive([PICKLE, DATA, DATA]), "same name"),
    "doubled pickle": (
        archive([PICKLE, DATA, Entry("m/data.pkl", pickled(payload("x")))]),
        "same name",
    ),
    "names that differ in case": (archive([PICKLE, DATA, Entry("m/DATA.pkl", GOOD)]), "same name"),
    "two roots": (archive([PICKLE, DATA, Entry("n/data.pkl", GOOD)]), "several folders"),
    "bytes before": (checkpoint(GOOD, before=b"PK\3\4junk"), "foreign bytes"),
    "bytes after": (checkpoint(GOOD, after=b"x"), "no directory at its end"),
    "two archives joined": (
        checkpoint(GOOD) + checkpoint(pickled(payload("x"))),
        "between the directory",
    ),
    "comment": (checkpoint(GOOD, comment=5, after=b"hello"), "no directory at its end"),
    "comment of a whole archive": (checkpoint(GOOD, comment=22), "comment"),
    "offset outside": (
        archive([PICKLE, Entry("m/data/0", FLOATS, central={"header": 10**6})]),
        "outside the file",
    ),
    "offset into another": (
        archive([PICKLE, Entry("m/data/0", FLOATS, central={"header": 4})]),
        "overlaps",
    ),
    "the same bytes twice": (
        archive([PICKLE, DATA, Entry("m/data/1", FLOATS, central={"header": 0})]),
        "overlaps",
    ),
    "record into the directory": (
        archive(
            [
                PICKLE,
                Entry(
                    "m/data/0",
                    FLOATS,
                    local={"size": 90, "packed": 90},
                    central={"size": 90, "packed": 90},
                ),
            ]
        ),
        "reaches into the directory",
    ),
    "more entries than there are": (checkpoint(GOOD, here=3, count=3), "3 entries in 110 bytes"),
    "fewer entries than there are": (checkpoint(GOOD, here=1, count=1), "longer than its entries"),
    "a count of 65535": (checkpoint(GOOD, here=65535, count=65535), "65535 entries"),
    "several disks": (checkpoint(GOOD, disk=1), "several parts"),
    "directory elsewhere": (checkpoint(GOOD, start=0), "between the directory"),
    "parent folder": (
        archive([PICKLE, DATA, Entry("m/../../etc/cron.d/x", b"x")]),
        "leaves its archive",
    ),
    "absolute name": (archive([PICKLE, DATA, Entry("/etc/passwd", b"x")]), "leaves its archive"),
    "backslash": (archive([PICKLE, DATA, Entry("m\\data\\1", b"x")]), "not portable"),
    "zero byte": (archive([PICKLE, DATA, Entry("m/data/1\0.txt", b"x")]), "not portable"),
    "name that is not UTF-8": (
        archive(
            [
                PICKLE,
                DATA,
                Entry("m/x", b"x", local={"name": b"m/\xff"}, central={"name": b"m/\xff"}),
            ]
        ),
        "not UTF-8",
    ),
    "name of 2 kB": (archive([PICKLE, DATA, Entry("m/" + "x" * 2000, b"x")]), "name of 2002 bytes"),
    "symbolic link": (
        archive(
            [
                PICKLE,
                Entry(
                    "m/data/0", FLOATS, central={"made_by": 3 << 8, "attributes": 0o120777 << 16}
                ),
            ]
        ),
        "link",
    ),
    "name in an extra field": (
        archive([PICKLE, Entry("m/data/0", FLOATS, extra=struct.pack("<HH", 0x7075, 4) + b"evil")]),
        "extra field",
    ),
    "torn extra field": (
        archive([PICKLE, Entry("m/data/0", FLOATS, extra=b"\1\0\xff\xff")]),
        "extra field",
    ),
    "ZIP64 field missing": (
        archive([PICKLE, Entry("m/data/0", FLOATS, central={"size": 0xFFFFFFFF})]),
        "ZIP64",
    ),
    "ZIP64 size of 2**63": (
        archive(
            [
                PICKLE,
                Entry(
                    "m/data/0",
                    FLOATS,
                    extra=struct.pack("<HHQ", 1, 8, 1 << 63),
                    central={"size": 0xFFFFFFFF},
                ),
            ]
        ),
        "impossible size",
    ),
    "bomb by its own words": (
        archive(
            [
                PICKLE,
                Entry("m/data/0", FLOATS, 8, local={"size": 1 << 30}, central={"size": 1 << 30}),
            ]
        ),
        "claims to inflate",
    ),
    "deflated pickle larger than said": (
        archive([Entry("m/data.pkl", GOOD, 8, local={"size": 9}, central={"size": 9}), DATA]),
        "does not inflate",
    ),
    "deflated pickle that is none": (
        archive([Entry("m/data.pkl", GOOD, local={"method": 8}, central={"method": 8}), DATA]),
        "inflate",
    ),
    "byte order of 65 bytes": (checkpoint(GOOD, Entry("m/byteorder", b"l" * 65)), "65 bytes"),
    "byte order unknown": (checkpoint(GOOD, Entry("m/byteorder", b"middle")), "middle"),
    "byte order in binary": (checkpoint(GOOD, Entry("m/byteorder", b"\xff\xfe")), "not text"),
    "no entries": (archive([]), "known checkpoint"),
}


@pytest.mark.parametrize("fault", ZIPS)
def test_an_archive_that_two_programs_would_read_differently_is_refused(
    fault: str, tmp_path: Path
) -> None:
    data, word = ZIPS[fault]

    error = _refused(tmp_path, data)

    assert word in str(error)


def test_a_wrong_checksum_of_weights_is_found_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(
        archive([PICKLE, Entry("m/data/0", FLOATS, local={"crc": 1}, central={"crc": 1})])
    )

    lazy = open_archive(path).tree["w"]

    with pytest.raises(SourceError, match="CRC-32"):
        list(lazy.chunks(check=True))


@pytest.mark.parametrize("declared", [16, 1000], ids=["longer", "shorter"])
def test_deflated_weights_of_another_length_are_refused_when_read(
    declared: int, tmp_path: Path
) -> None:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = engine.compress(FLOATS[:8] if declared == 16 else bytes(4000)) + engine.flush()
    lies = {"method": 8, "size": declared, "packed": len(packed)}
    entry = Entry("m/data/0", packed, local=lies, central=lies)
    count = declared // 4
    body = pickled(tensor(storage(count=count), shape=(count,)))
    path = tmp_path / "bad.pt"
    path.write_bytes(archive([Entry("m/data.pkl", body), entry]))

    lazy = open_archive(path).tree

    with pytest.raises(SourceError, match=r"inflate|CRC"):
        list(lazy.chunks(check=True))


def test_a_zip_bomb_in_a_storage_costs_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    size = 200 << 20
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(engine.compress(bytes(1 << 20)) for _ in range(200)) + engine.flush()
    facts = {"method": 8, "size": size, "packed": len(packed), "crc": 0}
    body = pickled(tensor(storage(count=size // 4), shape=(size // 4,)))
    path = tmp_path / "bomb.pt"
    path.write_bytes(
        archive([Entry("m/data.pkl", body), Entry("m/data/0", packed, local=facts, central=facts)])
    )
    tracemalloc.start()

    total = sum(len(part) for part in open_archive(path).tree.chunks())

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == size
    assert peak < 40 << 20


@pytest.mark.parametrize("at", range(0, 92, 4))
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "tar"])
def test_a_file_cut_anywhere_is_refused(kind: str, at: int, tmp_path: Path) -> None:
    whole = {
        "zip": checkpoint(GOOD),
        "legacy": legacy(GOOD),
        "safetensors": safetensors(TENSOR, FLOATS),
        "tar": TAR,
    }[kind]
    path = tmp_path / "whole.pt"
    path.write_bytes(whole)
    open_archive(path)

    error = _refused(tmp_path, whole[: len(whole) * at // 100])

    assert error.remedy


LEGACY: dict[str, tuple[bytes, str]] = {
    "no storages": (legacy(GOOD, b"]", b""), "1 of them missing"),
    "unknown storage": (legacy(GOOD, b"](" + text("0") + text("1") + b"e"), "holds 2 storages"),
    "storage listed twice": (
        legacy(GOOD, b"](" + text("0") + text("0") + b"e"),
        "holds 2 storages",
    ),
    "keys that are no list": (legacy(GOOD, text("0")), "list of storage keys"),
    "keys that are lists": (legacy(GOOD, b"]]a"), "storage key a list"),
    "shorter storage": (legacy(GOOD, tail=struct.pack("<q", 3) + FLOATS[:12]), "3 elements"),
    "longer storage": (legacy(GOOD, tail=struct.pack("<q", 5) + FLOATS + FLOATS[:4]), "5 elements"),
    "negative storage": (legacy(GOOD, tail=struct.pack("<q", -4) + FLOATS), "-4 elements"),
    "cut storage": (legacy(GOOD, tail=struct.pack("<q", 4) + FLOATS[:9]), "cut short"),
    "cut count": (legacy(GOOD, tail=b"\4\0\0"), "cut short"),
    "bytes after": (legacy(GOOD, tail=struct.pack("<q", 4) + FLOATS + b"x"), "1 bytes follow"),
    "two sizes of one storage": (
        legacy(pickled(tuple_of(tensor(), tensor(storage(count=8))))),
        "is said to have 16 and 32 bytes",
    ),
    "another protocol version": (
        pickled(number(MAGIC)) + pickled(number(1002)) + pickled(b"}") + GOOD,
        "protocol version",
    ),
}


def _view(key: str, offset: int, length: int) -> bytes:
    view = tuple_of(text(key), number(offset), number(length))
    kind = name("torch", "FloatStorage")
    parts = text("storage"), kind, text("0"), text("cpu"), number(4), view
    return tuple_of(*parts) + b"Q"


LEGACY |= {
    "view outside": (legacy(pickled(tensor(_view("v", 3, 2), shape=(1,)))), "leaves its storage"),
    "view of negative length": (legacy(pickled(tensor(_view("v", 3, -1), shape=(0,)))), "leaves"),
    "tensor outside its view": (legacy(pickled(tensor(_view("v", 0, 2), shape=(3,)))), "outside"),
    "view described twice": (
        legacy(
            pickled(
                tuple_of(tensor(_view("v", 0, 2), shape=(1,)), tensor(_view("v", 1, 2), shape=(1,)))
            )
        ),
        "in two ways",
    ),
}


@pytest.mark.parametrize("fault", LEGACY)
def test_a_legacy_stream_that_does_not_add_up_is_refused(fault: str, tmp_path: Path) -> None:
    data, word = LEGACY[fault]

    error = _refused(tmp_path, data)

    assert word in str(error)


def test_a_view_of_a_storage_shows_its_part(tmp_path: Path) -> None:
    path = tmp_path / "views.pt"
    path.write_bytes(legacy(pickled(tensor(_view("v", 1, 3), offset=1, shape=(2,)))))

    assert open_archive(path).tree.load().tolist() == [3, 4]
    assert torch.load(path, weights_only=True).tolist() == [3, 4]


STORAGES = (
    pickled(number(1))
    + pickled(tuple_of(number(7), text("cpu"), name("torch", "FloatStorage")))
    + struct.pack("<q", 4)
    + FLOATS
    + pickled(b"]" + tuple_of(number(8), number(7), number(1), number(3)) + b"a")
)
TENSORS = (
    pickled(number(1))
    + pickled(tuple_of(number(9), number(8), name("torch", "FloatTensor")))
    + struct.pack("<ii", 1, 0)
    + struct.pack("<qqq", 2, 2, 0)
)
TAR = tar(
    sys_info=pickled(b"}"),
    pickle=pickled(b"}" + text("w") + b"P9\ns"),
    storages=STORAGES,
    tensors=TENSORS,
)


def test_a_tar_of_torch_0_1_is_read_through_its_views(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(TAR)

    assert open_archive(path).tree["w"].load().tolist() == [2, 4]
    # torch reads it as well, without its restricted unpickler; the file is our own.
    assert torch.load(path, weights_only=False)["w"].tolist() == [2, 4]


TARS: dict[str, tuple[bytes, str]] = {
    "link": (tar(**{"pickle|2": GOOD, "storages": STORAGES}), "no plain file"),
    "device": (tar(**{"pickle|3": GOOD, "storages": STORAGES}), "no plain file"),
    "doubled member": (tar(pickle=GOOD, **{"pickle|0": GOOD, "storages": STORAGES}), "doubled"),
    "no pickle": (tar(storages=STORAGES), "not a checkpoint"),
    "payload in the storages": (
        tar(pickle=GOOD, storages=pickled(payload("x") + b"0" + number(0))),
        "os.system",
    ),
    "payload in the tensors": (
        tar(pickle=GOOD, storages=STORAGES, tensors=pickled(payload("x") + b"0" + number(0))),
        "os.system",
    ),
    "payload in the pickle": (tar(pickle=pickled(payload("x")), storages=STORAGES), "os.system"),
    "a billion storages": (tar(pickle=GOOD, storages=pickled(number(10**9))), "storages"),
    "storage larger than the file": (
        tar(
            pickle=GOOD,
            storages=pickled(number(1))
            + pickled(tuple_of(number(7), text("cpu"), name("torch", "FloatStorage")))
            + struct.pack("<q", 1 << 40),
        ),
        "cut short",
    ),
    "tensor of a billion axes": (
        tar(
            pickle=GOOD,
            storages=STORAGES,
            tensors=pickled(number(1))
            + pickled(tuple_of(number(9), number(8), name("torch", "FloatTensor")))
            + struct.pack("<ii", 10**9, 0),
        ),
        "axes",
    ),
    "tensor outside its view": (
        tar(pickle=GOOD, storages=STORAGES, tensors=TENSORS[:-24] + struct.pack("<qqq", 3, 2, 0)),
        "outside its storage",
    ),
    "reference to nothing": (tar(pickle=pickled(b"P44\n"), storages=STORAGES), "does not hold"),
}


@pytest.mark.parametrize("fault", TARS)
def test_a_tar_that_does_not_add_up_is_refused(fault: str, tmp_path: Path) -> None:
    data, word = TARS[fault]

    error = _refused(tmp_path, data)

    assert word in str(error) + "".join(error.seen)


TENSOR = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})


def _described(**change: Any) -> str:
    return json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **change}})


SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "header longer than the file": (struct.pack("<Q", 900) + b"{" * 20, "cut short"),
    "header of 4 GB": (struct.pack("<Q", 1 << 32) + b"{" + bytes(99), "4294967296 bytes"),
    "no JSON": (safetensors("{" + "x" * 9), "JSON"),
    "not UTF-8": (safetensors(b'{"\xff": 1}'), "UTF-8"),
    "nan": (safetensors('{"w": NaN}'), "NaN"),
    "doubled tensor": (safetensors('{"w": {}, "w": {}}'), "twice"),
    "doubled dtype": (safetensors('{"w": {"dtype": "F32", "dtype": "F16"}}'), "twice"),
    "integer of 30 digits": (safetensors(_described(shape=[10**30]), FLOATS), "digits"),
    "nested 100 000 deep": (safetensors('{"a":' + "[" * 100_000), "JSON"),
    "nested 300 deep": (safetensors('{"a":' + "[" * 300 + "]" * 300 + "}"), "deep"),
    "list of lists": (safetensors('{"a":' + "[" * 3_000_000, b""), "more objects than any header"),
    "no object": (safetensors('{"w": 3}'), "not described"),
    "another key": (safetensors(_described(location="/etc/passwd"), FLOATS), "not described"),
    "metadata of numbers": (safetensors('{"__metadata__": {"a": 1}}'), "text metadata"),
    "negative size": (safetensors(_described(shape=[-4]), FLOATS), "impossible shape"),
    "flag as size": (safetensors(_described(shape=[True, 4]), FLOATS), "impossible shape"),
    "float as size": (safetensors(_described(shape=[4.0]), FLOATS), "impossible shape"),
    "offsets backwards": (safetensors(_described(data_offsets=[16, 0]), FLOATS), "offsets"),
    "three offsets": (safetensors(_described(data_offsets=[0, 8, 16]), FLOATS), "offsets"),
    "shape of other bytes": (safetensors(_described(shape=[5]), FLOATS), "lies in 16 bytes"),
    "hole at the start": (
        safetensors(_described(data_offsets=[4, 20]), FLOATS + FLOATS[:4]),
        "hole",
    ),
    "bytes after": (safetensors(TENSOR, FLOATS + b"x"), "1 bytes follow"),
    "bytes missing": (safetensors(TENSOR, FLOATS[:9]), "cut short"),
    "overlap": (
        safetensors(
            json.dumps(
                {
                    "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
                    "b": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
                }
            ),
            FLOATS,
        ),
        "overlaps",
    ),
}


@pytest.mark.parametrize("fault", SAFETENSORS)
def test_a_safetensors_file_that_breaks_a_rule_is_refused(fault: str, tmp_path: Path) -> None:
    data, word = SAFETENSORS[fault]

    error = _refused(tmp_path, data)

    assert word in str(error)


def test_a_type_that_is_not_known_spares_the_other_tensors(tmp_path: Path) -> None:
    header = {
        "a": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
    }
    path = tmp_path / "new.safetensors"
    path.write_bytes(safetensors(json.dumps(header), FLOATS))

    tree = open_archive(path).tree

    assert tree["b"].load().tolist() == [3, 4]
    with pytest.raises(SourceError, match="F4"):
        tree["a"].load()


def test_archives_of_zipfile_with_large_file_records_are_read(tmp_path: Path) -> None:
    """A writer that cannot seek leaves sizes to descriptors and ZIP64 fields."""

    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, part: Any) -> int:
            self.data += bytes(part)
            return len(bytes(part))

    stream = Stream()
    with zipfile.ZipFile(stream, "w") as target:  # type: ignore[arg-type]  # it only writes
        for entry in (PICKLE, DATA):
            with target.open(entry.name, "w", force_zip64=True) as record:
                record.write(entry.data)
    path = tmp_path / "streamed.pt"
    path.write_bytes(stream.data)

    assert open_archive(path).tree["w"].load().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("offset", [0, 5, 1 << 40])
def test_a_tensor_without_elements_may_begin_anywhere(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "nothing.pt"
    nothing = pickled(tensor(offset=offset, shape=(0,)))
    path.write_bytes(checkpoint(nothing, Entry("m/version", b"3\n")))

    lazy = open_archive(path).tree

    assert list(lazy.load().shape) == list(torch.load(path, weights_only=True).shape) == [0]
    assert b"".join(lazy.chunks(check=True)) == b""


def test_the_sizes_of_a_tensor_are_never_trusted_from_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "expanded.pt"
    path.write_bytes(checkpoint(pickled(tensor(shape=(1 << 40, 4), stride=(0, 1)))))

    lazy = open_archive(path).tree

    assert (lazy.nbytes, lazy.storage.nbytes) == (16 << 40, 16)
    assert bytes(next(iter(lazy.chunks(64)))) == FLOATS * 4
