"""``inspect``, ``verify``, ``explain`` and ``diff``, from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch


@pytest.fixture
def output(convcore, example: Path, tmp_path: Path) -> Path:
    """The example, split."""
    assert convcore("convert", example, "-o", tmp_path / "out").code == 0
    return tmp_path / "out"


def test_inspect_says_what_it_is_and_how_it_knows(convcore, example) -> None:
    found = convcore("inspect", example, "--json").json

    state = torch.load(example, weights_only=True)["state_dict"]
    assert (found["format"], found["source"], found["layout"]) == (
        "torch-zip",
        "lightning",
        "cyclegan",
    )
    assert found["tensor_count"] == len(state)
    assert found["tensor_bytes"] == sum(t.numel() * t.element_size() for t in state.values())
    assert found["settings"]["input_dim"] == {"value": 40, "origin": "shape"}
    assert found["sidecars"].keys() == {"normalization_params.json"}
    assert sum(part["tensor_count"] for part in found["components"]) == len(state)


def test_inspect_of_an_unknown_model_is_no_error(convcore, tmp_path) -> None:
    torch.save({"a.w": torch.ones(2, 3), "b.w": torch.ones(1)}, tmp_path / "m.pt")

    ran = convcore("inspect", tmp_path / "m.pt", "--json")

    assert ran.code == 0
    assert ran.json["layout"] is None
    parts = {
        key: [(part["name"], part["parameter_count"]) for part in ran.json[key]]
        for key in ("components", "prefixes")
    }
    assert parts == {"components": [("model", 7)], "prefixes": [("a", 6), ("b", 1)]}


def test_inspect_of_a_damaged_family_member_names_the_tensor(convcore, example, tmp_path) -> None:
    tree = torch.load(example, weights_only=True)
    del tree["state_dict"]["generator_AB.encoder.0.weight"]
    torch.save(tree, tmp_path / "m.ckpt")

    ran = convcore("inspect", tmp_path / "m.ckpt", "--json")

    assert ran.code == 0
    assert ran.json["layout"] is None
    assert "generator_AB.encoder.0.weight" in " ".join(ran.json["evidence"])


def test_deep_inspection_finds_a_flipped_bit_that_a_look_does_not(
    convcore, example, tmp_path
) -> None:
    content = bytearray(example.read_bytes())
    weights = torch.load(example, weights_only=True)["state_dict"]["generator_AB.encoder.0.weight"]
    content[content.index(weights.numpy().tobytes()[:64])] ^= 1
    (tmp_path / "m.ckpt").write_bytes(content)

    shallow = convcore("inspect", tmp_path / "m.ckpt")
    deep = convcore("inspect", tmp_path / "m.ckpt", "--deep")

    assert (shallow.code, deep.code) == (0, 3)
    assert "CRC-32" in deep.err


def test_verify_passes_what_was_written(convcore, output) -> None:
    ran = convcore("verify", output, "--json")

    assert ran.code == 0
    assert ran.json["passed"] is True
    hashed = {check["file"] for check in ran.json["checks"] if check["check"] == "sha256"}
    assert hashed == {path.name for path in output.iterdir()} - {"manifest.json"}


CHANGES = {
    "a flipped bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x07"),
    "a cut file": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "a lost file": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_verify_finds(change, convcore, output) -> None:
    change(output / "generator_AB.pth")

    ran = convcore("verify", output)

    assert ran.code == 6
    assert "generator_AB.pth" in ran.err


def test_verify_recomputes_graphs_from_the_weights_beside_them(convcore, example, tmp_path) -> None:
    out = tmp_path / "out"
    words = ["--component", "generator_AB", "--to", "pth", "--to", "onnx"]
    assert convcore("convert", example, "-o", out, *words).code == 0

    ran = convcore("verify", out, "--json")

    parity = [check for check in ran.json["checks"] if check["check"] == "parity"]
    assert ran.code == 0
    assert {check["file"] for check in parity} == {"generator_AB.onnx", "convert_AB.onnx"}
    assert all(check["max_abs"] < 1e-4 for check in parity)


def test_verify_takes_no_tolerance_from_the_manifest_and_shows_its_own(
    convcore, example, tmp_path
) -> None:
    words = ["--to", "pth", "--to", "onnx", "--component", "generator_AB"]
    tolerances = ["--atol", "0.25", "--rtol", "0.5"]
    convcore("convert", example, "-o", tmp_path / "out", *words, *tolerances)

    by_itself = convcore("verify", tmp_path / "out", "--json")
    asked = convcore("verify", tmp_path / "out", "--json", "--atol", "0.125")

    for told, smallest in ((by_itself, 0.0), (asked, 0.125)):
        figures = [c for c in told.json["checks"] if c["kind"] == "parity"]
        assert len(figures) == 2
        assert all(smallest <= each["tolerance"] < 0.25 for each in figures)
        assert {each["recorded"] for each in figures} == {"--atol 0.25 --rtol 0.5"}


def test_verify_names_every_damaged_file(convcore, output) -> None:
    for name in ("generator_AB.pth", "discriminator_B.pth"):
        (output / name).write_bytes(b"other bytes")

    ran = convcore("verify", output)

    assert ran.code == 6
    first, *_ = ran.err.splitlines()
    assert "generator_AB.pth" in first
    assert "discriminator_B.pth" in first
    assert "{" not in ran.err


def test_verify_of_a_foreign_folder_is_a_usage_error(convcore, tmp_path) -> None:
    ran = convcore("verify", tmp_path)

    assert ran.code == 2
    assert "manifest.json" in ran.err


def test_explain_tells_where_a_tensor_went(convcore, output) -> None:
    ran = convcore("explain", output, "--tensor", "generator_AB.encoder.0.weight", "--json")

    (row,) = ran.json["ledger"]
    assert (row["state"], row["file"], row["key"]) == (
        "written",
        "generator_AB.pth",
        "encoder.0.weight",
    )


def test_explain_of_an_unknown_tensor_offers_the_nearest(convcore, output) -> None:
    ran = convcore("explain", output, "--tensor", "generator_AB.encoder.0.wieght")

    assert ran.code == 2
    assert "generator_AB.encoder.0.weight" in ran.err


def test_diff_of_a_checkpoint_and_its_output_finds_them_identical(
    convcore, example, output
) -> None:
    ran = convcore("diff", example, output, "--json")

    assert ran.code == 0
    assert ran.json["identical"] is True


def test_diff_says_what_changed_and_how_much(convcore, tmp_path) -> None:
    one = {"a": torch.zeros(3), "b": torch.ones(2), "gone": torch.ones(1), "h": torch.ones(2)}
    two = {"a": torch.tensor([0.0, 0.5, 0.0]), "b": torch.ones(2), "new": torch.ones(1)}
    torch.save({**one, "h": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "one.pt")
    torch.save({**two, "h": torch.full((2,), 3, dtype=torch.bfloat16)}, tmp_path / "two.pt")

    ran = convcore("diff", tmp_path / "one.pt", tmp_path / "two.pt", "--json")

    found = ran.json
    assert ran.code == 0
    assert (found["identical"], found["same"]) == (False, ["b"])
    assert (found["missing"], found["added"]) == (["gone"], ["new"])
    assert [(c["name"], c["max_abs"], c["elements_changed"]) for c in found["changed"]] == [
        ("a", 0.5, 1),
        ("h", 2.0, 2),
    ]


def test_a_manifest_of_another_version_is_refused(convcore, output) -> None:
    manifest = json.loads((output / "manifest.json").read_text())
    (output / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))

    ran = convcore("verify", output)

    assert ran.code == 2
    assert "99" in ran.err


def test_nan_that_was_allowed_has_to_be_allowed_again(convcore, example, tmp_path) -> None:
    tree = torch.load(example, weights_only=True)
    state = tree["state_dict"]
    name = next(key for key in state if key.startswith("generator_AB.") and key.endswith("weight"))
    state[name].fill_(float("nan"))
    torch.save(tree, tmp_path / "last.ckpt")
    words = ("--component", "generator_AB", "--to", "pth", "--to", "onnx")
    out = tmp_path / "out"

    written = convcore("convert", tmp_path / "last.ckpt", "-o", out, *words, "--allow-nan")
    refused = convcore("verify", out, "--json")
    allowed = convcore("verify", out, "--allow-nan", "--json")

    assert (written.code, refused.code, allowed.code) == (0, 6, 0)
    assert "NaN for every input" in str(refused.json)
    parity = [check for check in allowed.json["checks"] if check["check"] == "parity"]
    assert [check["proved"] for check in parity] == [False]


@pytest.mark.parametrize(
    "words", [("--atol", "1"), ("--rtol", "0.1"), ("--allow-nan",)], ids="-".join
)
def test_a_tolerance_that_nothing_has_is_refused(convcore, output, words) -> None:
    ran = convcore("verify", output, *words)

    assert ran.code == 2
    assert f"{words[0]} concerns nothing" in ran.err
