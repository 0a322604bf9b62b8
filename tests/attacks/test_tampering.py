"""Whoever can change a file can mend its digest: what ``verify`` tells all the same."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from convcore import convert
from convcore.engine.audit.verify import verify
from convcore.errors import SourceError, UsageError
from convcore.host.registry import load_registry
from tests.attacks.tampering import UNSEEN, mend, untold
from tests.conftest import EXAMPLE, ROOT

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as two kinds of weight files, with a script."""
    out = tmp_path_factory.mktemp("split") / "out"
    convert(EXAMPLE, out, ("pth", "safetensors"), create_inference_script=True)
    return out


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One generator of the example, with its graphs."""
    out = tmp_path_factory.mktemp("exported") / "out"
    convert(EXAMPLE, out, ("pth", "onnx"), components=("generator_AB", "generator_BA"))
    return out


@pytest.fixture
def copied(split: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(split, tmp_path / "out"))


@pytest.fixture
def graphs(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "out"))


def edit(folder: Path, change: Change) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    (folder / "manifest.json").write_text(json.dumps(content))


def faults(folder: Path) -> dict[str, str]:
    """What ``verify`` says of what failed: file to words."""
    found: dict[str, str] = {}
    for check in verify(folder, load_registry()):
        if not check.passed:
            found[check.file] = found.get(check.file, "") + str(dict(check.figures))
    return found


# Known by their digests alone: copied from beside the source, or made of what was.
SIDECARS = ("best_theta.pt", "idf.json", "tfidf_vectorizer.pkl", "vocab.json")


def test_every_tampering_is_told_or_listed_in_the_security_policy(tmp_path: Path) -> None:
    out = tmp_path / "out"
    models, targets = ROOT / "examples/etm/models", ("pth", "safetensors")
    convert(models, out, targets, create_inference_script=True)

    count, fields, files = untold(out)

    assert count > 300
    assert set(fields) <= UNSEEN
    others = [name for name in files if not name.startswith(SIDECARS)]
    assert others == ["inference_example.py: removed"]
    policy = (ROOT / "SECURITY.md").read_text()
    assert [place for place in sorted(UNSEEN) if f"`{place}`" not in policy] == []


def row_of(content: dict[str, Any], name: str) -> dict[str, Any]:
    return next(file for file in content["files"] if file["path"] == name)


def swap(folder: Path, one: str, other: str) -> None:
    a, b = (folder / one).read_bytes(), (folder / other).read_bytes()
    (folder / one).write_bytes(b)
    (folder / other).write_bytes(a)
    mend(folder)


def test_weights_of_another_component_are_found_by_their_fingerprint(copied: Path) -> None:
    for ending in ("pth", "safetensors"):
        swap(copied, f"generator_AB.{ending}", f"generator_BA.{ending}")

    found = faults(copied)

    assert {name for name in found if name.startswith("generator")} == {
        f"generator_{way}.{ending}" for way in ("AB", "BA") for ending in ("pth", "safetensors")
    }
    assert all("fingerprint" in found[name] for name in found)


def test_weights_of_another_training_beside_their_twin_are_found(
    copied: Path, tmp_path: Path
) -> None:
    loaded = torch.load(EXAMPLE, weights_only=False)
    loaded["state_dict"]["generator_AB.encoder.0.weight"] += 1
    torch.save(loaded, tmp_path / "last.ckpt")
    convert(tmp_path / "last.ckpt", tmp_path / "other", "safetensors")
    name = "generator_AB.safetensors"
    shutil.copy(tmp_path / "other" / name, copied / name)
    mend(copied)

    assert faults(copied).keys() == {name}


def test_an_output_that_lists_no_file_is_not_verified(copied: Path) -> None:
    for path in copied.iterdir():
        if path.name != "manifest.json":
            path.unlink()
    edit(copied, lambda m: m.update(files=[], ledger=[], checks=[]))

    assert "lists no file at all" in faults(copied)["manifest.json"]


CHANGES: dict[str, tuple[Change, str]] = {
    "a row and its file": (lambda m: m["files"].remove(row_of(m, "generator_AB.pth")), "listed"),
    "a check that failed": (lambda m: m["checks"][0].update(passed=False), "failed when"),
    "no ledger": (lambda m: m.update(ledger=[]), "no row"),
    "a row of the ledger less": (lambda m: m["ledger"].pop(0), "too few"),
    "a component less": (lambda m: m["components"].pop(0), "no component"),
    "another count": (lambda m: m["components"][0].update(tensor_count=64), "tensor"),
    "another number of bytes": (lambda m: m["components"][0].update(bytes=1), "bytes"),
    "another size": (lambda m: m["sizes"].update(d=41), "other sizes: d"),
    "another setting": (lambda m: m["settings"]["dropout"].update(value=0.5), "settings say"),
}


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES.keys())
def test_a_manifest_that_contradicts_its_folder_fails(
    change: Change, words: str, copied: Path
) -> None:
    edit(copied, change)

    assert words in " ".join(faults(copied).values())


def test_a_setting_of_a_wrong_type_is_blamed_on_the_manifest(copied: Path) -> None:
    edit(copied, lambda m: m["settings"]["hidden_dims"].update(value="wide"))

    with pytest.raises(SourceError, match="hidden_dims is a str"):
        verify(copied, load_registry())


def test_a_size_that_contradicts_costs_no_reading(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (copied / "generator_AB.pth").open("r+b") as file:
        file.truncate(1 << 40)  # sparse
    hashed: list[str] = []
    module = "convcore.engine.audit.inventory.sha256_of"
    monkeypatch.setattr(module, lambda path: hashed.append(path.name) or "0" * 64)

    found = faults(copied)

    assert "1,099,511,627,776 bytes in place of" in found["generator_AB.pth"]
    assert "generator_AB.pth" not in hashed
    assert "generator_BA.pth" in hashed


def _link(path: Path) -> None:
    outside = path.parent.parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)


def _socket(path: Path) -> None:
    path.unlink()
    there = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has a short limit
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(there)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link": (_link, "a link in place"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "a pipe in place"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "a folder in place"),
    "a socket": (_socket, "a socket in place"),
}


@pytest.mark.parametrize(("plant", "words"), ODD.values(), ids=ODD.keys())
def test_what_is_no_regular_file_is_neither_followed_nor_waited_for(
    plant: Callable[[Path], object], words: str, copied: Path
) -> None:
    plant(copied / "generator_AB.pth")

    assert words in faults(copied)["generator_AB.pth"]


@pytest.mark.parametrize("name", ["generator_AB.pth", "a-pipe"])
def test_adding_never_waits_for_a_pipe(name: str, copied: Path) -> None:
    (copied / name).unlink(missing_ok=True)
    os.mkfifo(copied / name)

    with pytest.raises((SourceError, UsageError), match=name):
        convert(EXAMPLE, copied, "state-dict", add=True)


def forged(folder: Path, name: str, key: str) -> None:
    """Change a tensor so that its CRC-32, and with it every recorded sum, stays as it was."""
    path = folder / name
    numbers = torch.load(EXAMPLE, weights_only=False)["state_dict"][key].numpy().tobytes()
    changed = bytearray(numbers)
    # A multiple of the polynomial, added to a message, leaves the rest of its division alone.
    for offset, byte in enumerate((0x104C11DB7 << 7).to_bytes(5, "big")):
        changed[8 + offset] ^= int(f"{byte:08b}"[::-1], 2)
    path.write_bytes(path.read_bytes().replace(numbers, bytes(changed)))
    mend(folder)


def test_adding_compares_bytes_and_not_sums_that_can_be_forged(copied: Path) -> None:
    key = "generator_AB.encoder.0.weight"
    forged(copied, "generator_AB.pth", key)
    loaded = torch.load(copied / "generator_AB.pth", weights_only=True)["encoder.0.weight"]
    assert not torch.equal(loaded, torch.load(EXAMPLE, weights_only=False)["state_dict"][key])
    assert faults(copied) == {}  # the sums are what they were

    with pytest.raises(UsageError, match="made from other weights") as caught:
        convert(EXAMPLE, copied, "state-dict", add=True)

    assert caught.value.seen == (f"generator_AB.pth: {key} differs",)


def test_adding_keeps_a_script_of_the_user_s_own(split: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(EXAMPLE, out)
    (out / "inference_example.py").write_text("mine")

    with pytest.raises(UsageError, match=r"cannot keep: inference_example\.py") as caught:
        convert(EXAMPLE, out, "safetensors", add=True, create_inference_script=True)

    assert caught.value.remedy.startswith("move it away")
    assert (out / "inference_example.py").read_text() == "mine"


def test_adding_throws_no_edited_script_away(copied: Path) -> None:
    with (copied / "inference_example.py").open("a") as file:
        file.write("# mine\n")

    with pytest.raises(SourceError, match=r"inference_example\.py is not what the manifest"):
        convert(EXAMPLE, copied, "state-dict", add=True)

    assert (copied / "inference_example.py").read_text().endswith("# mine\n")


def test_an_added_file_fails_until_adding_has_put_it_on_record(copied: Path) -> None:
    (copied / "NOTES.txt").write_text("mine")

    before = faults(copied)
    convert(EXAMPLE, copied, "state-dict", add=True)

    assert "does not list what lies there: NOTES.txt" in before["manifest.json"]
    assert faults(copied) == {}
    assert (copied / "NOTES.txt").read_text() == "mine"


def test_a_scaled_graph_is_found_whatever_tolerance_the_manifest_names(graphs: Path) -> None:
    import onnx
    from onnx import numpy_helper

    path = graphs / "generator_AB.onnx"
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f" and array.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array(array * 1.5, tensor.name))
    onnx.save(model, str(path))
    mend(graphs)
    edit(graphs, lambda m: [c.update(atol=1e30) for c in m["checks"] if c["check"] == "parity"])

    found = {check.check for check in verify(graphs, load_registry())
             if not check.passed and check.file == path.name}  # fmt: skip

    assert "parity" in found


def test_a_graph_that_takes_other_inputs_fails_without_a_traceback(graphs: Path) -> None:
    import onnx

    path = graphs / "generator_AB.onnx"
    model = onnx.load(str(path))
    more = onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1])
    model.graph.input.append(more)
    onnx.save(model, str(path))
    mend(graphs)

    found = [c for c in verify(graphs, load_registry()) if not c.passed]

    assert [(check.file, check.check) for check in found] == [(path.name, "parity")]


def test_a_setting_that_the_script_needs_and_lacks_is_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(ROOT / "examples/etm/models", out, create_inference_script=True)
    edit(out, lambda m: m["settings"].pop("one_sided"))

    assert faults(out)


NAMELESS: dict[str, Any] = {"null": None, "another's": "generator_BA"}


@pytest.mark.parametrize("name", NAMELESS.values(), ids=NAMELESS.keys())
def test_a_graph_of_no_or_of_another_s_name_is_found(name: str | None, graphs: Path) -> None:
    edit(graphs, lambda m: row_of(m, "generator_AB.onnx").update(component=name))

    checks = verify(graphs, load_registry())

    assert any(not check.passed and "generator_AB.onnx" in str(check) for check in checks)
    for path in graphs.glob("*.onnx"):  # compared, or named as not compared
        assert [c for c in checks if c.file == path.name and c.check.startswith("parity")]


def test_settings_do_not_decide_how_large_a_network_is_made(graphs: Path) -> None:
    edit(graphs, lambda m: m["settings"]["n_residual_blocks"].update(value=200_000))
    config = json.loads((graphs / "model_config.json").read_text())
    config["generator_config"]["n_residual_blocks"] = 200_000
    (graphs / "model_config.json").write_text(json.dumps(config, indent=2) + "\n")
    mend(graphs)

    with pytest.raises(SourceError, match="far larger than the weights") as caught:
        verify(graphs, load_registry())

    assert any("200000" in line for line in caught.value.seen)


def test_digests_are_those_of_sha256sum(split: Path) -> None:
    checks = {c.file: c for c in verify(split, load_registry()) if c.check == "sha256"}

    for path in split.iterdir():
        if path.name != "manifest.json":
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert checks[path.name].figures["found"] == digest
