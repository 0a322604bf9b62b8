from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convcore.errors import ConvcoreError, LayoutError, UsageError
from convcore_autoencoder import SemanticEncoder, create_semantic_encoder
from tests.plugins.autoencoder_checkpoints import (
    SHAPES_OF_FILES,
    State,
    checkpoint,
    converted,
    encoder_of,
    extracted,
    relative,
    save,
)
from tests.plugins.autoencoder_reference import build_state, embed, narrow_shapes


@pytest.fixture(scope="module")
def state() -> State:
    return build_state(narrow_shapes())


@pytest.fixture(scope="module")
def weights(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(extracted(state), tmp_path_factory.mktemp("autoencoder") / "encoder_weights.pth")


@pytest.mark.parametrize("tree", SHAPES_OF_FILES.values(), ids=SHAPES_OF_FILES.keys())
def test_the_interface_loads_every_file_shape(
    tree: Callable[[State], Any], state: State, tmp_path: Path
) -> None:
    path = save(tree(state), tmp_path / "file.pth")

    encoder = create_semantic_encoder(path, device="cpu")

    loaded = encoder.encoder.state_dict()
    expected = {k: v for k, v in encoder_of(state).items() if "num_batches" not in k}
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())
    assert (encoder.input_channels, encoder.latent_dim) == (1, 48)


@pytest.mark.parametrize("target", ["pth", "safetensors", "state-dict"])
def test_the_interface_loads_an_output_folder(target: str, state: State, tmp_path: Path) -> None:
    path = save(checkpoint(state), tmp_path / "best_model.pth")
    converted(path, tmp_path / "out", target)

    encoder = SemanticEncoder(pretrained_path=tmp_path / "out", device="cpu")

    assert torch.equal(encoder.encoder.fc[6].bias, state["encoder.fc.6.bias"])


def test_a_missing_tensor_is_an_error_and_leaves_the_network_as_it_was(
    weights: Path, state: State, tmp_path: Path
) -> None:
    less = {key: value for key, value in state.items() if key != "encoder.fc.3.bias"}
    path = save(less, tmp_path / "less.pth")
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu")
    before = {key: value.clone() for key, value in encoder.state_dict().items()}

    with pytest.raises(LayoutError, match=r"encoder\.fc\.3\.bias"):
        encoder.load_pretrained_weights(path)

    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert encoder.pretrained_path == str(weights)


def test_sizes_that_were_asked_for_must_be_the_files(weights: Path) -> None:
    with pytest.raises(LayoutError) as caught:
        SemanticEncoder(input_channels=3, latent_dim=48, pretrained_path=weights)

    assert caught.value.seen == ("input_channels: 3 was asked for, the tensors say 1",)


def test_nothing_at_the_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SemanticEncoder(pretrained_path=tmp_path / "none.pth")
    with pytest.raises(UsageError, match="holds no encoder"):
        SemanticEncoder(pretrained_path=tmp_path)


def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    path = save({"encoder_state_dict": {"weight": torch.ones(2)}}, tmp_path / "other.pth")

    with pytest.raises(ConvcoreError):
        SemanticEncoder(pretrained_path=path)


def test_loading_the_same_widths_keeps_the_parameters_an_optimizer_holds(weights: Path) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu")
    before = [id(parameter) for parameter in encoder.parameters()]

    encoder.load_pretrained_weights(weights)

    assert [id(parameter) for parameter in encoder.parameters()] == before


@pytest.mark.parametrize("axes", [3, 4])
@pytest.mark.parametrize("batch_size", [None, 1, 2, 7])
def test_numpy_images_are_scaled_over_the_whole_array(
    axes: int, batch_size: int | None, weights: Path, state: State
) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu")
    raw = np.random.default_rng(4).integers(0, 60000, (3, 32, 32), dtype=np.uint16)
    raw[0] //= 4  # an image of its own range: scaled alone it would give something else
    low, high = float(raw.min()), float(raw.max())
    scaled = (torch.from_numpy(raw.astype(np.float64)) - low) / (high - low) * 2 - 1

    found = encoder.encode_numpy(raw if axes == 3 else raw[:, None], batch_size=batch_size)

    assert found.dtype == np.float32
    assert relative(found, embed(state, scaled[:, None])) < 1e-5


def test_without_normalisation_numbers_are_taken_as_they_are(weights: Path, state: State) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu")
    x = np.random.default_rng(5).uniform(-1, 1, (2, 1, 24, 24))[:, :, ::-1]

    found = encoder.encode_numpy(x, normalize=False)

    assert relative(found, embed(state, torch.from_numpy(x.copy()))) < 1e-5


@pytest.mark.parametrize("value", [0.0, 7.5, -3.0])
def test_a_constant_array_is_all_minimum(value: float, weights: Path, state: State) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu")

    found = encoder.encode_numpy(np.full((2, 16, 16), value))

    assert relative(found, embed(state, -torch.ones(2, 1, 16, 16))) < 1e-5


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((4, 4)),
        np.zeros((1, 2, 4, 4)),
        np.array([[[np.nan, 1.0]]]),
        np.full((1, 2, 2), np.inf),
    ],
    ids=["two-axes", "two-channels", "nan", "infinity"],
)
def test_arrays_that_are_no_images_are_refused(x: np.ndarray[Any, Any], weights: Path) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu")

    with pytest.raises(ValueError, match="x "):
        encoder.encode_numpy(x)


def test_no_images_have_no_embeddings(weights: Path) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu")

    assert encoder.encode_numpy(np.zeros((0, 16, 16))).shape == (0, 48)


def test_encode_batch_works_in_evaluation_mode_and_leaves_the_mode(weights: Path) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu").train()
    images = torch.rand(5, 1, 16, 16)

    parts, whole = encoder.encode_batch(images, batch_size=2), encoder.encode_batch(images)

    assert encoder.training
    assert not whole.requires_grad
    assert relative(parts, whole) < 1e-6
    with pytest.raises(ValueError, match="batch_size is 0"):
        encoder.encode_batch(images, batch_size=0)


def test_layers_are_frozen_by_exact_name(weights: Path) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu")

    count = encoder.freeze_layers(["layer1", "fc.0"])

    frozen = {name for name, p in encoder.encoder.named_parameters() if not p.requires_grad}
    assert len(frozen) == count
    assert {name.partition(".")[0] for name in frozen} == {"layer1", "fc"}
    assert {name for name in frozen if name.startswith("fc")} == {"fc.0.weight", "fc.0.bias"}
    assert not encoder.freeze_weights


def test_an_unknown_layer_is_an_error_that_names_near_ones(weights: Path) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu")

    with pytest.raises(UsageError, match="laier1") as caught:
        encoder.freeze_layers(["stem", "laier1"])

    assert "layer1" in caught.value.seen[0]
    assert encoder.count_parameters(only_trainable=True) == encoder.count_parameters()


def test_freezing_and_thawing_change_what_is_trainable(weights: Path) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, freeze_weights=True, device="cpu")

    frozen = encoder.get_model_info()
    encoder.freeze_parameters(False)
    thawed = encoder.get_model_info()

    assert (frozen["frozen"], frozen["trainable_parameters"]) == (True, 0)
    assert (thawed["frozen"], thawed["trainable_parameters"]) == (False, thawed["total_parameters"])
    assert f"{thawed['total_parameters']:,}" in repr(encoder)


def test_it_is_a_backbone_with_its_keys_under_encoder(weights: Path, state: State) -> None:
    class UNet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sem_encoder = SemanticEncoder(pretrained_path=weights, device="cpu")

    keys = list(UNet().state_dict())

    assert keys == list(encoder_of(state, "sem_encoder.encoder."))


def test_saved_weights_have_the_interface_s_entries_and_load_again(
    weights: Path, tmp_path: Path
) -> None:
    encoder = SemanticEncoder(pretrained_path=weights, device="cpu")

    encoder.save_encoder_weights(tmp_path / "saved.pth")

    saved = torch.load(tmp_path / "saved.pth", weights_only=True)
    again = SemanticEncoder(pretrained_path=tmp_path / "saved.pth", device="cpu")
    assert list(saved) == ["encoder_state_dict", "model_config", "model_info"]
    assert saved["model_config"]["latent_dim"] == 48
    assert saved["model_info"]["pretrained_path"] == "encoder_weights.pth"
    assert all(
        torch.equal(value, again.state_dict()[key]) for key, value in encoder.state_dict().items()
    )
