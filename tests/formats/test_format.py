"""Formats are told by their bytes, strangers' as our own; sources are asked of the rest."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from convcore import (
    Archive,
    Checkpoint,
    Extent,
    Format,
    LazyTensor,
    PluginError,
    Source,
    SourceError,
    TensorSpec,
    assemble,
)
from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.formats import FORMATS, FormatSession, Location, open_archive
from convcore.formats.location import LocalLocation
from convcore.host import guard
from convcore.host.registry import Registry, load_registry
from convcore.sources.reading import read_checkpoint
from convcore.sources.source import Input
from tests.formats.conftest import Save


def _read(location: Location, session: FormatSession) -> Archive:
    data = location.open()
    spec = TensorSpec("uint8", (data.size - 4,))
    weight = LazyTensor.from_extents(spec, [Extent(data, 4, data.size - 4)])
    return Archive(Path(str(location)), "raw", {"layer.weight": weight})


RAW = Format("raw", "four letters and bytes", lambda head, _: head.startswith(b"RAW1"), _read)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "w.raw"
    path.write_bytes(b"RAW1" + bytes(range(9)))
    return path


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def with_formats(registry: Registry, *formats: Format) -> Registry:
    import attrs

    named = {each.name: guard.guarded(each, "stranger") for each in formats}
    return attrs.evolve(registry, formats={**registry.formats, **named})


def test_convcore_s_own_formats_come_through_the_hook(registry: Registry) -> None:
    assert list(registry.formats) == [each.name for each in FORMATS]
    assert registry.owners["formats", "torch-zip"] == ("convcore_formats",)


def test_a_stranger_s_format_is_read_through_every_source(raw: Path, registry: Registry) -> None:
    checkpoint = read_checkpoint(raw, with_formats(registry, RAW))

    assert (checkpoint.format, checkpoint.source) == ("raw", "state-dict")
    assert checkpoint.tensors["layer.weight"].load().tolist() == list(range(9))
    with pytest.raises(SourceError, match="no known checkpoint format"):
        read_checkpoint(raw, registry)


def test_a_file_of_two_formats_is_refused_unless_one_is_a_case_of_the_other(
    save: Save, registry: Registry
) -> None:
    path = save({"a": torch.ones(2)})
    zipped = Format("other-zip", "a zip", lambda head, _: head[:2] == b"PK", _read)
    special = Format("my-zip", "a zip of mine", zipped.sniff, _read, refines={"torch-zip"})

    with pytest.raises(SourceError, match="of 2 formats at once: torch-zip, other-zip"):
        read_checkpoint(path, with_formats(registry, zipped))
    assert read_checkpoint(path, with_formats(registry, special)).format == "raw"


def test_a_format_that_fails_does_not_keep_others_from_reading(
    save: Save, registry: Registry
) -> None:
    def broken(head: bytes, location: Location) -> bool:
        raise ZeroDivisionError("oops")

    path = save({"a.weight": torch.ones(2)})

    with pytest.warns(UserWarning, match="the format bad is left out"):
        found = read_checkpoint(path, with_formats(registry, Format("bad", "-", broken, _read)))

    assert found.format == "torch-zip"


def test_what_a_format_raises_or_answers_wrongly_is_said_of_its_plugin(
    raw: Path, registry: Registry
) -> None:
    wrong: Any = Format("raw", "-", RAW.sniff, lambda *_: {"a": 1})  # type: ignore[arg-type,return-value]  # on purpose

    with pytest.raises(PluginError, match="the format raw of plugin stranger"):
        read_checkpoint(raw, with_formats(registry, wrong))


def test_a_source_is_asked_for_a_file_that_no_format_knows(tmp_path: Path) -> None:
    path = tmp_path / "weights.txt"
    path.write_text("1 2 3")
    seen: list[Input] = []

    def read(given: Input) -> Checkpoint | None:
        seen.append(given)
        if given.archive is not None or not given.path.is_file():
            return None
        data = bytes(map(int, given.path.read_text().split()))
        tensor = LazyTensor.from_bytes(TensorSpec("uint8", (3,)), data)
        return Checkpoint(given.path, "text", "text", {"weight": tensor})

    registry = Registry({"text": Source("text", "numbers", read)}, {}, {})

    assert read_checkpoint(path, registry).tensors["weight"].load().tolist() == [1, 2, 3]
    assert str(seen[0].location) == str(path)


@pytest.mark.parametrize("verify", ["none", "fast"])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_tensor_in_chunks_is_converted_and_its_checksums_are_compared(
    verify: str, damaged: bool, tmp_path: Path
) -> None:
    path = tmp_path / "w.raw"
    whole = torch.arange(48, dtype=torch.uint8).reshape(6, 8)
    crcs = [zlib.crc32(whole[:, at : at + 4].numpy().tobytes()) for at in (0, 4)]
    data = bytearray(b"RAW1" + b"".join(whole[:, at : at + 4].numpy().tobytes() for at in (0, 4)))
    data[-3] ^= damaged
    path.write_bytes(data)

    def read(location: Location, session: FormatSession) -> Archive:
        source, half = location.open(), TensorSpec("uint8", (6, 4))
        chunks = [
            LazyTensor.from_extents(half, [Extent(source, 4 + 24 * n, 24, crc)])
            for n, crc in enumerate(crcs)
        ]
        tensor = assemble(TensorSpec("uint8", (6, 8)), [((0, 0), chunks[0]), ((0, 4), chunks[1])])
        return Archive(Path(str(location)), "raw", {"layer.weight": tensor})

    registry = with_formats(load_registry(), Format("raw", "-", RAW.sniff, read))
    request = Request(path, tmp_path / "out", ("state-dict",), layout="plain", verify=verify)

    if damaged:
        with pytest.raises(SourceError, match="CRC-32"):
            convert(request, registry)
        assert not (tmp_path / "out").exists()
    else:
        convert(request, registry)
        written = torch.load(tmp_path / "out/state_dict.pth", weights_only=True)
        assert torch.equal(written["layer.weight"], whole)


def test_what_no_format_and_no_source_knows_is_named(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "page.ckpt"
    path.write_text("<!DOCTYPE html><html>404</html>")

    with pytest.raises(SourceError, match="is a web page"):
        read_checkpoint(path, registry)


def test_an_index_may_not_name_an_index(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": index.name}}))

    with pytest.raises(SourceError, match="no plain file name"):
        open_archive(index)


def test_a_location_is_a_place_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('{"a": 1}')
    (tmp_path / "a").mkdir()
    home = LocalLocation(tmp_path)

    assert [place.name for place in home.list()] == ["a", "b.json"]
    assert home.child("b.json").read_json() == {"a": 1}
    assert home.child("b.json").open().read(0, 4) == b'{"a"'
    assert home.child("b.json").parent.child("a").is_folder()
    assert not home.child("c").exists()
    (tmp_path / "link").symlink_to("/etc/passwd")
    for use in (home.child("link").open, home.child("link").read_json):
        with pytest.raises(SourceError, match="outside the checkpoint's folder"):
            use()
