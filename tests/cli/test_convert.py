"""``convcore convert`` from the outside: files, ledger, exit codes, and nothing half-written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

GENERATORS = ("generator_AB", "generator_BA")
NETWORKS = (*GENERATORS, "discriminator_A", "discriminator_B")


def state(example: Path) -> dict[str, torch.Tensor]:
    return torch.load(example, map_location="cpu", weights_only=True)["state_dict"]


def part(example: Path, name: str) -> dict[str, torch.Tensor]:
    prefix = f"{name}."
    return {k[len(prefix) :]: v for k, v in state(example).items() if k.startswith(prefix)}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(two) and all(
        one[k].dtype == two[k].dtype and torch.equal(one[k], two[k]) for k in one
    )


def test_every_component_becomes_a_file_that_torch_loads(convcore, example, tmp_path) -> None:
    ran = convcore("convert", example, "-o", tmp_path / "out")

    assert ran.code == 0, ran.err
    for name in NETWORKS:
        written = torch.load(tmp_path / f"out/{name}.pth", weights_only=True)
        assert equal(written, part(example, name))


def test_safetensors_hold_the_same_bits(convcore, example, tmp_path) -> None:
    ran = convcore("convert", example, "-o", tmp_path / "out", "--to", "safetensors")

    assert ran.code == 0, ran.err
    for name in NETWORKS:
        written = load_file(tmp_path / f"out/{name}.safetensors")
        source = part(example, name)
        assert written.keys() == source.keys()
        assert all(torch.equal(written[key], source[key]) for key in source)


def test_a_state_dict_is_the_whole_model_unwrapped(convcore, example, tmp_path) -> None:
    ran = convcore("convert", example, "-o", tmp_path / "out", "--to", "state-dict")

    assert ran.code == 0, ran.err
    written = torch.load(tmp_path / "out/state_dict.pth", weights_only=True)
    assert equal(written, state(example))


def test_the_manifest_accounts_for_every_tensor_and_file(convcore, example, tmp_path) -> None:
    out = tmp_path / "out"

    convcore("convert", example, "-o", out, "--to", "pth", "--to", "safetensors", "--hash-source")

    manifest = json.loads((out / "manifest.json").read_text())
    on_disk = {path.name for path in out.iterdir()} - {"manifest.json"}
    assert {file["path"] for file in manifest["files"]} == on_disk
    for file in manifest["files"]:
        content = (out / file["path"]).read_bytes()
        assert file["bytes"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["source"]["sha256"] == hashlib.sha256(example.read_bytes()).hexdigest()
    for target in ("pth", "safetensors"):
        rows = [row for row in manifest["ledger"] if row["target"] == target]
        named = [row["tensor"] for row in rows if row.get("reason") != "optimizer state"]
        assert sorted(named) == sorted(state(example))
        assert len({row["tensor"] for row in rows}) == len(rows)


def test_optimizer_states_are_dropped_with_their_reason(convcore, example, tmp_path) -> None:
    convcore("convert", example, "-o", tmp_path / "out")

    rows = json.loads((tmp_path / "out/manifest.json").read_text())["ledger"]
    moments = [row for row in rows if row["tensor"].startswith("optimizer_states.")]
    assert moments
    assert all(row["state"] == "dropped" for row in moments)


def test_the_same_input_gives_the_same_bytes(convcore, example, tmp_path) -> None:
    for name in ("one", "two"):
        convcore("convert", example, "-o", tmp_path / name, "--to", "pth", "--to", "safetensors")

    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert one == two


def test_discriminators_can_be_left_out(convcore, example, tmp_path) -> None:
    convcore("convert", example, "-o", tmp_path / "out", "--no-discriminators")

    written = {path.stem for path in (tmp_path / "out").glob("*.pth")}
    rows = json.loads((tmp_path / "out/manifest.json").read_text())["ledger"]
    reasons = {r["reason"] for r in rows if str(r["tensor"]).startswith("discriminator_A.")}
    assert written == set(GENERATORS)
    assert reasons == {"role: training"}


def test_targets_can_be_added_later(convcore, example, tmp_path) -> None:
    out = tmp_path / "out"
    convcore("convert", example, "-o", out, "--to", "pth")
    before = (out / "generator_AB.pth").read_bytes()

    ran = convcore("convert", example, "-o", out, "--to", "safetensors", "--add")

    assert ran.code == 0, ran.err
    assert (out / "generator_AB.pth").read_bytes() == before
    assert (out / "generator_AB.safetensors").is_file()
    assert convcore("verify", out).code == 0


def test_adding_from_another_checkpoint_is_refused(convcore, example, tmp_path) -> None:
    out = tmp_path / "out"
    convcore("convert", example, "-o", out)
    other = tmp_path / "other.ckpt"
    other.write_bytes(example.read_bytes())

    ran = convcore("convert", other, "-o", out, "--to", "safetensors", "--add")

    assert ran.code == 2
    assert "was made from last.ckpt" in ran.err


def test_a_dry_run_writes_nothing(convcore, example, tmp_path) -> None:
    ran = convcore("convert", example, "-o", tmp_path / "out", "--dry-run", "--json")

    assert ran.code == 0
    assert {file["path"] for file in ran.json["files"]} == {f"{name}.pth" for name in NETWORKS}
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_is_split_by_prefixes(convcore, tmp_path) -> None:
    tensors = {"enc.w": torch.arange(6.0), "enc.b": torch.ones(2), "head.w": torch.zeros(3)}
    torch.save(tensors, tmp_path / "m.pt")
    out = tmp_path / "out"

    words = ("convert", tmp_path / "m.pt", "-o", out, "--component", "encoder=enc")
    ran = convcore(*words, "--remainder")

    assert ran.code == 0, ran.err
    assert torch.equal(torch.load(out / "encoder.pth")["w"], tensors["enc.w"])
    assert torch.equal(torch.load(out / "remainder.pth")["w"], tensors["head.w"])


def test_an_unsupported_tensor_is_named_and_the_rest_can_be_taken(convcore, tmp_path) -> None:
    torch.save({"odd": torch.ones(2).to_sparse(), "w": torch.ones(3)}, tmp_path / "m.pt")
    out = tmp_path / "out"

    refused = convcore("convert", tmp_path / "m.pt", "-o", out, "--layout", "plain")
    taken = convcore("convert", tmp_path / "m.pt", "-o", out, "--component", "rest=w")

    assert (refused.code, taken.code) == (3, 0), taken.err
    assert "odd: sparse" in refused.err
    assert torch.equal(torch.load(out / "rest.pth", weights_only=True)["w"], torch.ones(3))
    rows = {r["tensor"]: r for r in json.loads((out / "manifest.json").read_text())["ledger"]}
    assert rows["odd"]["state"] == "dropped"
    assert "sparse" in rows["odd"]["reason"]


def test_plain_takes_any_checkpoint_as_it_is(convcore, tmp_path) -> None:
    shared = torch.arange(12.0).reshape(3, 4)
    tensors = {"emb.weight": shared, "out.weight": shared, "t": shared.t(), "s": torch.tensor(3)}
    torch.save({"state_dict": tensors}, tmp_path / "m.pt")
    out = tmp_path / "out"

    ran = convcore(
        "convert", tmp_path / "m.pt", "-o", out, "--layout", "plain", "--to", "safetensors",
        "--to", "pth", "--verify", "full",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    loaded = torch.load(out / "model.pth", weights_only=True)
    assert all(torch.equal(loaded[key], value) for key, value in tensors.items())
    stored = load_file(out / "model.safetensors")
    assert torch.equal(stored["t"], tensors["t"])
    rows = json.loads((out / "manifest.json").read_text())["ledger"]
    alias = [r for r in rows if r["state"] == "alias" and r["target"] == "safetensors"]
    assert [(r["tensor"], r["key"]) for r in alias] == [("out.weight", "emb.weight")]


REFUSED = {
    "missing file": (["{tmp}/none.ckpt"], 2, "there is no file"),
    "unknown target": (["{ckpt}", "--to", "tflite"], 2, "no target 'tflite'"),
    "unknown layout": (["{ckpt}", "--layout", "nope"], 2, "no layout 'nope'"),
    "unknown component": (["{ckpt}", "--component", "generator_ab"], 2, "generator_AB"),
    "unknown option": (["{ckpt}", "--config", "nope=1"], 2, "means nothing"),
    "malformed option": (["{ckpt}", "--config", "nope"], 2, "has no value"),
    "both ways to write": (["{ckpt}", "--overwrite", "--add"], 2, "exclude each other"),
    "no such command option": (["{ckpt}", "--frobnicate"], 2, "frobnicate"),
    "not a checkpoint": (["{tmp}/page.html"], 3, "HTML"),
    "an empty file": (["{tmp}/empty"], 3, "empty"),
    "an unknown model": (["{tmp}/unknown.pt", "--to", "onnx"], 4, "no known layout"),
    "a foreign name": (["{ckpt}", "--component", "../x=generator_AB"], 2, "file name"),
}


@pytest.mark.parametrize(("words", "code", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    words: list[str], code: int, said: str, convcore: Callable, example: Path, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("<!DOCTYPE html><html><body>404</body></html>")
    (tmp_path / "empty").write_bytes(b"")
    torch.save({"a.b": torch.zeros(2), "c.d": torch.zeros(2)}, tmp_path / "unknown.pt")
    words = [word.format(tmp=tmp_path, ckpt=example) for word in words]
    before = sorted(tmp_path.iterdir())

    ran = convcore("convert", *words, "-o", tmp_path / "out")
    told = convcore("convert", *words, "-o", tmp_path / "out", "--json")

    assert ran.code == told.code == code, ran.err
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert told.json["error"]["exit_code"] == code
    assert told.json["error"]["remedy"]
    assert sorted(tmp_path.iterdir()) == before


def test_an_existing_output_is_kept_or_replaced_as_a_whole(convcore, example, tmp_path) -> None:
    out = tmp_path / "out"
    words = ("convert", example, "-o", out)
    first = convcore(*words, "--component", "generator_AB")
    before = sorted(path.name for path in out.iterdir())

    refused = convcore(*words)
    kept = sorted(path.name for path in out.iterdir())
    replaced = convcore(*words, "--overwrite", "--component", "generator_BA")

    assert (first.code, refused.code, replaced.code) == (0, 2, 0)
    assert kept == before
    assert (out / "generator_BA.pth").exists()
    assert not (out / "generator_AB.pth").exists()


def test_an_output_inside_the_input_folder_is_refused(convcore, example, tmp_path) -> None:
    (tmp_path / "last.ckpt").write_bytes(example.read_bytes())

    ran = convcore("convert", tmp_path, "-o", tmp_path / "out")

    assert ran.code == 2
    assert "inside" in ran.err


def test_a_tensor_that_no_component_claims_is_named(convcore, example, tmp_path) -> None:
    state = torch.load(example, weights_only=True)["state_dict"]
    torch.save({**state, "stray.weight": torch.zeros(2)}, tmp_path / "m.pt")

    ran = convcore("convert", tmp_path / "m.pt", "-o", tmp_path / "out")

    assert ran.code == 0
    assert "stray.weight" in ran.out


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
@pytest.mark.parametrize("option", ["--atol", "--rtol"])
def test_a_tolerance_that_is_none_is_a_usage_error(
    option, value, convcore, example, tmp_path
) -> None:
    ran = convcore("convert", example, "-o", tmp_path / "out", option, value)

    assert ran.code == 2
    assert f"{option} {value}" in ran.err


def test_a_graph_that_misses_its_tolerance_is_not_published(convcore, example, tmp_path) -> None:
    words = ["--to", "onnx", "--component", "generator_AB", "--atol", "0", "--rtol", "0"]

    ran = convcore("convert", example, "-o", tmp_path / "out", *words)

    assert ran.code == 6, ran.err
    assert "generator_AB.onnx" in ran.err
    assert list(tmp_path.iterdir()) == []
