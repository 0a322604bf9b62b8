from __future__ import annotations

import json
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from convcore.errors import SourceError, UsageError
from convcore.formats import open_archive, walk_tensors
from tests.formats.conftest import WILD, Save, bits, tensors_of

STATE = OrderedDict(
    (f"layer.{index}.weight", torch.randn(3, 2, generator=torch.manual_seed(index)))
    for index in range(6)
)
TAR = "tracel-ai__burn__crates.burn-store.src.pytorch.tests.reader.test_data.tar_weight_bias.tar"


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_format_and_protocol_is_read_as_torch_reads_it(
    save: Save, legacy: bool, protocol: int
) -> None:
    path = save({"state_dict": STATE, "epoch": 3}, legacy=legacy, pickle_protocol=protocol)

    archive = open_archive(path)

    # The restricted loader of torch knows no protocol above 3; this file is our own.
    expected = dict(tensors_of(torch.load(path, weights_only=False)))
    found = {name: bits(tensor.load()) for name, tensor in walk_tensors(archive.tree)}
    assert found == {name: bits(tensor) for name, tensor in expected.items()}
    assert archive.format == ("torch-legacy" if legacy else "torch-zip")
    assert archive.tree["epoch"] == 3
    assert archive.opaque == {}


@pytest.mark.parametrize("protocol", [0, 1])
def test_a_legacy_stream_of_the_oldest_protocols_is_read(tmp_path: Path, protocol: int) -> None:
    # torch.save(…, pickle_protocol=0) writes storages as lines of text and cannot be read by torch
    # itself, so the tensor-free part is compared.
    path = tmp_path / "old.pt"
    value = {"text": "ä\n'", "big": 1 << 70, "list": [1, -2, 3.5, None, True], "nested": {"a": ()}}
    torch.save(value, path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)

    assert open_archive(path).tree == value


@pytest.mark.parametrize(
    "sample", [path.name for path in sorted(WILD.iterdir()) if path.suffix != ".tar"]
)
def test_real_files_of_strangers_are_read_as_torch_reads_them(sample: str) -> None:
    path = WILD / sample
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        loaded = load_file(path)
    else:
        # Read without the restriction: these few files are known, and half of them need it.
        loaded = torch.load(path, weights_only=False, map_location="cpu")

    archive = open_archive(path)

    found = dict(walk_tensors(archive.tree))
    expected = dict(tensors_of(loaded))
    assert expected.keys() <= found.keys()
    assert {name: bits(found[name].load()) for name in expected} == {
        name: bits(tensor) for name, tensor in expected.items()
    }


def test_the_first_format_of_torch_is_read_from_its_tar() -> None:
    archive = open_archive(WILD / TAR)

    found = {name: tensor.load() for name, tensor in walk_tensors(archive.tree)}
    assert archive.format == "torch-tar"
    # The numbers its repository's test expects.
    torch.testing.assert_close(found["weight"], torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]))
    torch.testing.assert_close(found["bias"], torch.tensor([0.01, 0.02]))


def test_arrays_in_a_legacy_file_are_tensors_that_remember_being_arrays() -> None:
    path = WILD / "elixir-nx__bumblebee__test.fixtures.pytorch.numpy_arrays.legacy.pt"
    loaded = torch.load(path, weights_only=False)

    found = open_archive(path).tree

    assert all(array.numpy_array for array in found)
    assert [array.numpy().dtype for array in found] == [array.dtype for array in loaded]
    assert [array.numpy().tolist() for array in found] == [array.tolist() for array in loaded]


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_a_storage_saved_by_itself_is_listed_as_a_tensor() -> None:
    path = WILD / "elixir-nx__bumblebee__test.fixtures.pytorch.storage_view.legacy.pt"
    loaded = torch.load(path, weights_only=False)

    found = [tensor.load() for _, tensor in walk_tensors(open_archive(path).tree)]

    assert [tensor.untyped_storage().tolist() for tensor in found] == [
        storage.untyped().tolist() for storage in loaded
    ]


@pytest.mark.parametrize("name", ["archive", "model.v2", "a b", "été"])
def test_the_root_folder_of_a_zip_may_have_any_name(save: Save, name: str) -> None:
    path = save({"a": torch.arange(3)}, f"{name}.pt")

    assert open_archive(path).tree["a"].load().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"]
)
def test_a_checkpoint_zipped_anew_is_read(save: Save, tmp_path: Path, method: int) -> None:
    path = save({"grid": torch.arange(600.0).reshape(20, 30).t(), "flat": torch.arange(7)})
    again = tmp_path / "again.pt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(again, "w", method) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))

    tree = open_archive(again).tree

    assert bits(tree["grid"].load()) == bits(torch.arange(600.0).reshape(20, 30).t())
    assert list(tree["flat"].chunks(check=True)) == [torch.arange(7).numpy().tobytes()]


def test_a_file_of_a_big_endian_machine_is_read_as_torch_reads_it(
    save: Save, tmp_path: Path
) -> None:
    value = {
        "f": torch.arange(6.0).reshape(2, 3).t(),
        "i": torch.arange(4),
        "b": torch.ones(3).bool(),
    }
    value |= {"c": torch.randn(2, dtype=torch.complex64).conj(), "h": torch.ones(3).bfloat16()}
    path, big = save(value), tmp_path / "big.pt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(big, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, b"big" if name.endswith("byteorder") else data)

    tree = open_archive(big).tree

    loaded = torch.load(big, weights_only=True)
    assert {name: bits(tree[name].load()) for name in value} == {
        name: bits(tensor) for name, tensor in loaded.items()
    }


def packed(path: Path, again: Path, **changed: bytes) -> Path:
    """Zip a file of torch anew, every record deflated, some of them with other bytes."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as out:
        for name in source.namelist():
            out.writestr(name, changed.get(name.rpartition("/")[2], source.read(name)))
    return again


# Odd counts of what deflate packs well and badly: its pieces end anywhere within an element.
_MIXED = torch.cat([torch.zeros(40_007), torch.randn(90_001)])
DEFLATED = {
    "plain": _MIXED,
    "slice": _MIXED[3:100_002],
    "transposed": _MIXED[:130_000].reshape(325, 400).t(),
    "complex": torch.view_as_complex(_MIXED[:130_000].reshape(-1, 2)).conj(),
    "negative": torch.view_as_complex(_MIXED[:130_000].reshape(-1, 2)).conj().imag,
    "half": _MIXED.half(),
    "long": _MIXED.long(),
    "double": torch.randn(77, 13, dtype=torch.complex128).mH,
}


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("name", DEFLATED)
def test_deflated_elements_of_either_byte_order_are_read_as_torch_reads_them(
    save: Save, tmp_path: Path, name: str, order: str
) -> None:
    path = packed(save({"t": DEFLATED[name]}), tmp_path / "again.pt", byteorder=order.encode())

    lazy = open_archive(path).tree["t"]

    loaded = torch.load(path, weights_only=True)["t"]
    for size in (1000, 1 << 16, 8 << 20):
        pieces = list(lazy.chunks(size, check=True))
        assert b"".join(pieces) == bits(loaded)[2]
        assert all(len(piece) % lazy.itemsize == 0 for piece in pieces)
        assert max(map(len, pieces)) <= max(size, lazy.itemsize)


def test_the_metadata_of_a_state_dict_is_kept(save: Save) -> None:
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    path = save(module.state_dict())

    tree = open_archive(path).tree

    assert type(tree) is OrderedDict
    assert tree._metadata == module.state_dict()._metadata


def test_storages_saved_on_an_accelerator_are_read_all_the_same(save: Save) -> None:
    path = save(STATE, legacy=True)
    data = path.read_bytes()
    # The location stands in the pickle as text of three characters; "mps" is as long as "cpu".
    path.write_bytes(data.replace(b"X\x03\0\0\0cpu", b"X\x03\0\0\0mps"))

    found = open_archive(path).tree

    assert all(bits(found[name].load()) == bits(tensor) for name, tensor in STATE.items())


def test_safetensors_are_read_with_their_metadata(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {
        "half": torch.randn(2, 3).half(),
        "bfloat": torch.randn(4).bfloat16(),
        "fp8": torch.randn(5).to(torch.float8_e4m3fn),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
    }
    save_file(tensors, path, metadata={"made by": "a test"})

    archive = open_archive(path)

    assert archive.format == "safetensors"
    assert archive.metadata == {"made by": "a test"}
    assert {name: bits(tensor.load()) for name, tensor in archive.tree.items()} == {
        name: bits(tensor) for name, tensor in tensors.items()
    }


def _shards(folder: Path, kind: str) -> Path:
    halves = [dict(list(STATE.items())[:4]), dict(list(STATE.items())[4:])]
    weight_map = {}
    for index, half in enumerate(halves):
        name = f"part-{index}.{kind}"
        weight_map |= dict.fromkeys(half, name)
        if kind == "safetensors":
            save_file(half, folder / name)
        else:
            torch.save(half, folder / name)
    stem = "model.safetensors" if kind == "safetensors" else "pytorch_model.bin"
    index = folder / f"{stem}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 144}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("given", ["folder", "index"])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_open_as_one_tree(tmp_path: Path, kind: str, given: str) -> None:
    index = _shards(tmp_path, kind)

    archive = open_archive(index if given == "index" else tmp_path)

    assert archive.format == ("safetensors" if kind == "safetensors" else "torch-zip")
    assert list(archive.tree) == list(STATE)
    assert all(bits(archive.tree[name].load()) == bits(tensor) for name, tensor in STATE.items())


@pytest.mark.parametrize(
    "name", ["diffusion_pytorch_model.safetensors.index.json", "model.fp16.index.json"]
)
def test_an_index_may_have_any_name_that_ends_as_indexes_do(tmp_path: Path, name: str) -> None:
    _shards(tmp_path, "safetensors").rename(tmp_path / name)

    assert list(open_archive(tmp_path).tree) == list(STATE)


def test_an_index_whose_shards_are_elsewhere_is_passed_over(tmp_path: Path) -> None:
    _shards(tmp_path, "safetensors")
    stray = tmp_path / "a.safetensors.index.json"
    stray.write_text(json.dumps({"weight_map": {"w": "not-here.safetensors"}}))
    (tmp_path / "b.index.json").write_text("not even JSON")
    (tmp_path / "c.index.json").write_text(json.dumps({"pages": 3}))

    archive = open_archive(tmp_path)

    assert list(archive.tree) == list(STATE)
    assert len(archive.evidence) == 3
    assert "a.safetensors.index.json is passed over" in archive.evidence[0]


def test_of_two_usual_indexes_the_first_is_taken_and_the_other_told(tmp_path: Path) -> None:
    for kind in ("bin", "safetensors"):
        _shards(tmp_path, kind)

    archive = open_archive(tmp_path)

    assert archive.format == "safetensors"
    assert archive.evidence == ("pytorch_model.bin.index.json is there too and not used",)


def test_of_several_unusual_indexes_one_has_to_be_named(tmp_path: Path) -> None:
    index = _shards(tmp_path, "safetensors")
    for name in ("one.index.json", "two.index.json"):
        (tmp_path / name).write_text(index.read_text())
    index.unlink()

    with pytest.raises(SourceError, match="holds 2 indexes") as caught:
        open_archive(tmp_path)

    assert caught.value.seen == ("one.index.json", "two.index.json")
    assert list(open_archive(tmp_path / "two.index.json").tree) == list(STATE)


def test_all_shards_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    index = _shards(tmp_path, "bin")
    content = json.loads(index.read_text())
    content["weight_map"] |= {"x": "part-7.bin", "y": "part-8.bin"}
    index.write_text(json.dumps(content))

    with pytest.raises(SourceError, match="2 of 4 shards that are not beside it") as caught:
        open_archive(index)

    assert caught.value.seen == ("part-7.bin", "part-8.bin")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer.0.weight": "../part-0.bin"}, "no plain file name"),
        ({"layer.0.weight": "/etc/passwd"}, "no plain file name"),
        ({"layer.0.weight": "part-7.bin"}, "not beside it"),
        ({"layer.0.weight": "part-1.bin"}, "where the index says it lies"),
        ({"layer.9.weight": "part-1.bin"}, "where the index says it lies"),
        ({"layer.0.weight": 3}, "no plain file name"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(
    tmp_path: Path, change: dict[str, str], words: str
) -> None:
    index = _shards(tmp_path, "bin")
    content = json.loads(index.read_text())
    index.write_text(json.dumps({"weight_map": content["weight_map"] | change}))

    with pytest.raises(SourceError, match=words):
        open_archive(index)


def test_a_tensor_that_the_index_does_not_list_is_not_dropped_silently(tmp_path: Path) -> None:
    index = _shards(tmp_path, "bin")
    content = json.loads(index.read_text())
    del content["weight_map"]["layer.2.weight"]
    index.write_text(json.dumps(content))

    with pytest.raises(SourceError, match=r"does not list 1 tensors of part-0\.bin") as caught:
        open_archive(tmp_path)

    assert caught.value.seen == ("layer.2.weight",)


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_path_without_a_checkpoint_is_a_fault_of_usage(tmp_path: Path, what: str) -> None:
    path = tmp_path / "no.ckpt" if what == "missing" else tmp_path

    with pytest.raises(UsageError):
        open_archive(path)
