"""CycleGAN networks exported each into a file of its own: read as the checkpoint they came from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import SourceError
from convcore.host.registry import load_registry
from convcore.layouts.layout import LayoutMatch
from convcore.layouts.matching import match_layout
from convcore.sources.reading import read_checkpoint
from convcore.testing import SourceSuite
from tests.conftest import EXAMPLE, call
from tests.plugins import cyclegan_checkpoints as made

REGISTRY = load_registry()
DATA = Path(__file__).parents[1] / "data/cyclegan"
NETWORKS = ("generator_AB", "generator_BA", "discriminator_A", "discriminator_B")
EARLY = {"generator_AB": "generator_A_to_B", "generator_BA": "generator_B_to_A"}


def state_of(checkpoint: Path) -> made.State:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def export(
    folder: Path,
    state: made.State,
    names: Mapping[str, str] = MappingProxyType({}),
    only: tuple[str, ...] = NETWORKS,
    suffix: str = ".pth",
) -> Path:
    """Write bare state dicts as the origin's exporter does, one file for each network."""
    folder.mkdir(exist_ok=True)
    for stem in only:
        prefix = f"{names.get(stem, stem)}."
        bare = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if suffix == ".pth":
            torch.save(bare, folder / f"{stem}{suffix}")
        else:
            save_file(bare, folder / f"{stem}{suffix}")
    return folder


def exported_example(folder: Path) -> Path:
    """The example's networks, and beside them what the origin's exporter adds."""
    export(folder, state_of(EXAMPLE))
    hyper = torch.load(EXAMPLE, weights_only=True)["hyper_parameters"]
    structure = ("input_dim", "generator_config", "discriminator_config")
    training = ("learning_rate", "lambda_cycle", "lambda_identity", "use_identity_loss")
    config = {name: hyper[name] for name in structure if name in hyper}
    config["training"] = {name: hyper[name] for name in training if name in hyper}
    (folder / "model_config.json").write_text(json.dumps(config))
    shutil.copy(EXAMPLE.with_name("normalization_params.json"), folder)
    return folder


def recognise(path: Path) -> LayoutMatch:
    return match_layout(read_checkpoint(path, REGISTRY), REGISTRY)


class TestExportedFolders(SourceSuite):
    source = "cyclegan-exported"
    layout = "cyclegan"

    def make(self, folder: Path) -> Path:
        return exported_example(folder / "exported_models")

    def expected(self, path: Path) -> Mapping[str, Any]:
        return state_of(EXAMPLE)


def test_an_exported_folder_converts_as_its_checkpoint_does(tmp_path: Path) -> None:
    folder = exported_example(tmp_path / "exported_models")
    targets = ("pth", "onnx", "state-dict")
    features = np.random.default_rng(5).normal(2, 3, (2, 7, 40)).astype(np.float32)

    convert(Request(EXAMPLE, tmp_path / "whole", targets, all_components=True), REGISTRY)
    convert(Request(folder, tmp_path / "parts", targets, all_components=True), REGISTRY)

    graphs = {path.stem for path in (tmp_path / "whole").glob("*.onnx")}
    assert graphs == {*NETWORKS, "convert_AB", "convert_BA"}
    for graph in graphs:
        whole, parts = (
            onnxruntime.InferenceSession(str(tmp_path / side / f"{graph}.onnx")).run(
                None, {"features": features}
            )
            for side in ("whole", "parts")
        )
        np.testing.assert_array_equal(whole[0], parts[0])
    for name in NETWORKS:
        file = torch.load(tmp_path / f"parts/{name}.pth", weights_only=True)
        origin = torch.load(folder / f"{name}.pth", weights_only=True)
        assert list(file) == list(origin)
        assert all(torch.equal(file[key], value) for key, value in origin.items())
    merged = torch.load(tmp_path / "parts/state_dict.pth", weights_only=True)
    assert list(merged) == list(state_of(EXAMPLE))
    for document in ("model_config.json", "normalization_params.json"):
        whole, parts = (tmp_path / side / document for side in ("whole", "parts"))
        assert json.loads(whole.read_text()) == json.loads(parts.read_text())


def test_what_was_converted_from_an_exported_folder_is_verified_and_explained(
    tmp_path: Path,
) -> None:
    folder = exported_example(tmp_path / "exported_models")
    output = tmp_path / "out"
    convert(Request(folder, output, ("pth", "onnx")), REGISTRY)

    verified = call("verify", output)
    explained = call("explain", output, "--tensor", "generator_BA.encoder.0.weight", "--json")
    compared = call("diff", EXAMPLE, folder, "--json")

    assert verified.code == 0
    assert [row["file"] for row in explained.json["ledger"] if row["target"] == "pth"] == [
        "generator_BA.pth"
    ]
    assert compared.json["identical"]


def test_convcores_own_weight_files_convert_again(tmp_path: Path) -> None:
    convert(Request(EXAMPLE, tmp_path / "first"), REGISTRY)

    convert(Request(tmp_path / "first", tmp_path / "second"), REGISTRY)

    for path in (tmp_path / "first").iterdir():
        if path.name != "manifest.json":
            assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_hyper_parameters_of_the_exporters_file_are_settings(tmp_path: Path) -> None:
    folder = export(tmp_path, state_of(DATA / "last.ckpt"))
    shutil.copy(DATA / "exported_model_config.json", folder / "model_config.json")

    match = recognise(folder)

    whole = recognise(DATA / "last.ckpt")
    names = ("dropout", "discriminator_dropout", "learning_rate", "lambda_cycle", "input_dim")
    assert {n: match.settings[n] for n in names} == {n: whole.settings[n] for n in names}


@pytest.mark.parametrize("judges", [True, False])
def test_without_configuration_and_discriminators_the_tensors_are_enough(
    judges: bool, tmp_path: Path
) -> None:
    state = made.current()
    folder = export(tmp_path, state, only=NETWORKS if judges else NETWORKS[:2])

    match = recognise(folder)

    assert list(match.states) == list(NETWORKS if judges else NETWORKS[:2])
    assert match.settings["dropout"].origin == "default"
    assert match.checkpoint.hyper_parameters == {}


def test_the_early_architecture_is_known_by_its_keys(tmp_path: Path) -> None:
    state = made.early()
    match = recognise(export(tmp_path, state, EARLY))

    assert match.value("version") == "early"
    del state["spectrogram.window"]
    assert match.checkpoint.tensors.keys() == state.keys()
    for name, tensor in match.checkpoint.tensors.items():
        assert torch.equal(tensor.load(), state[name])


def test_safetensors_stand_in_where_there_is_no_pth(tmp_path: Path) -> None:
    state = made.current()
    other = {key: value + 1 for key, value in state.items()}
    export(tmp_path, state, only=("generator_AB",))
    export(tmp_path, other, only=("generator_AB", "generator_BA"), suffix=".safetensors")

    match = recognise(tmp_path)

    tensors, key = match.checkpoint.tensors, "encoder.0.weight"
    assert torch.equal(tensors[f"generator_AB.{key}"].load(), state[f"generator_AB.{key}"])
    assert torch.equal(tensors[f"generator_BA.{key}"].load(), other[f"generator_BA.{key}"])
    assert "also there and not read: generator_AB.safetensors" in "\n".join(match.evidence)


@pytest.mark.parametrize(("there", "lacking"), [NETWORKS[:2], NETWORKS[1::-1]])
def test_one_generator_alone_is_refused_with_the_name_of_the_other(
    there: str, lacking: str, tmp_path: Path
) -> None:
    export(tmp_path, made.current(), only=(there, "discriminator_A"))

    with pytest.raises(SourceError, match=rf"{there}\.pth, but no {lacking}\.pth") as caught:
        read_checkpoint(tmp_path, REGISTRY)

    assert f"--layout plain: {there}.pth" in caught.value.remedy


def test_a_generator_beside_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    export(tmp_path, made.current(), only=("generator_AB",))
    torch.save({"net.1.weight": torch.ones(2)}, tmp_path / "generator_BA.pth")

    with pytest.raises(SourceError, match=r"generator_BA\.pth .* no generator's state dict"):
        read_checkpoint(tmp_path, REGISTRY)


def test_generators_of_two_architectures_are_refused(tmp_path: Path) -> None:
    export(tmp_path, made.current(), only=("generator_AB",))
    export(tmp_path, made.early(), EARLY, only=("generator_BA",))

    with pytest.raises(SourceError, match="different architectures"):
        read_checkpoint(tmp_path, REGISTRY)


def test_a_discriminator_of_another_kind_is_left_and_named(tmp_path: Path) -> None:
    export(tmp_path, made.current(), only=NETWORKS[:3])
    torch.save({"conv.weight": torch.ones(2)}, tmp_path / "discriminator_B.pth")

    match = recognise(tmp_path)

    assert list(match.states) == list(NETWORKS[:3])
    assert "discriminator_B.pth: no discriminator" in "\n".join(match.evidence)


def test_a_missing_tensor_is_named_behind_its_network(tmp_path: Path) -> None:
    state = made.current()
    del state["generator_BA.decoder.8.bias"]

    ran = call("convert", export(tmp_path / "in", state), "-o", tmp_path / "out", "--json")

    assert ran.code == 4
    assert "generator_BA.decoder.8.bias" in ran.json["error"]["what"]


def test_generators_of_other_cyclegans_are_not_claimed(tmp_path: Path) -> None:
    for stem in NETWORKS:
        torch.save({"model.1.weight": torch.ones(2, 2)}, tmp_path / f"{stem}.pth")

    assert read_checkpoint(tmp_path, REGISTRY).source == "state-dict"


@pytest.mark.parametrize("tree", [{"epoch": 3}, [1]])
def test_files_of_these_names_without_tensors_are_no_cyclegan(tree: object, tmp_path: Path) -> None:
    for stem in NETWORKS:
        torch.save(tree, tmp_path / f"{stem}.pth")

    with pytest.raises(SourceError, match="holds no state dict"):
        read_checkpoint(tmp_path, REGISTRY)


@pytest.mark.parametrize(
    ("text", "said"), [("[1]", "holds a list"), ("{", "no JSON")], ids=["list", "cut"]
)
def test_a_broken_configuration_is_refused(text: str, said: str, tmp_path: Path) -> None:
    folder = export(tmp_path, made.current())
    (folder / "model_config.json").write_text(text)

    with pytest.raises(SourceError, match=said):
        read_checkpoint(folder, REGISTRY)


def test_what_lies_beside_the_tensors_of_a_file_is_accounted_for(tmp_path: Path) -> None:
    file = export(tmp_path / "in", made.current()) / "generator_AB.pth"
    tree = torch.load(file, weights_only=True)
    torch.save({**tree, "extra": {"scale": torch.ones(3)}}, file)

    convert(Request(tmp_path / "in", tmp_path / "out"), REGISTRY)

    rows = json.loads((tmp_path / "out/manifest.json").read_text())["ledger"]
    (row,) = (row for row in rows if row["tensor"].endswith("extra.scale"))
    assert row["state"] == "dropped"
