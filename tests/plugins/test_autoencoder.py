from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convcore.errors import LayoutError, TargetError, UsageError
from convcore_autoencoder import SemanticEncoder
from tests.plugins.autoencoder_checkpoints import (
    SHAPES_OF_FILES,
    State,
    backbone,
    checkpoint,
    converted,
    encoder_of,
    recognise,
    relative,
    reshaped,
    save,
)
from tests.plugins.autoencoder_reference import (
    DATA,
    SHAPES,
    build_state,
    decode,
    embed,
    narrow_shapes,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "autoencoder" / "checkpoint_epoch_5.pth"
# What the origin's own code computed at full size.
GOLDEN = np.load(DATA / "golden.npz")


@pytest.fixture(scope="module")
def state() -> State:
    return build_state(narrow_shapes())


@pytest.mark.parametrize("tree", SHAPES_OF_FILES.values(), ids=SHAPES_OF_FILES.keys())
def test_every_file_shape_gives_the_same_encoder_file(
    tree: Callable[[State], Any], state: State, tmp_path: Path
) -> None:
    path = save(tree(state), tmp_path / "file.pth")
    expected = encoder_of(state)

    converted(path, tmp_path / "out")

    written = torch.load(tmp_path / "out" / "encoder_weights.pth", weights_only=True)
    found = written["encoder_state_dict"]
    kept = [key for key in expected if key in found or "num_batches" not in key]
    assert list(found) == kept
    assert all(torch.equal(found[key], expected[key]) for key in kept)


def test_the_encoder_file_has_the_entries_of_the_origin(state: State, tmp_path: Path) -> None:
    path = save(checkpoint(state), tmp_path / "checkpoint_epoch_15.pth")

    converted(path, tmp_path / "out")

    written = torch.load(tmp_path / "out" / "encoder_weights.pth", weights_only=True)
    trained = [v for k, v in encoder_of(state).items() if "running" not in k and "num_b" not in k]
    count = sum(value.numel() for value in trained)
    assert list(written) == [
        "encoder_state_dict", "model_config", "extracted_from", "extraction_info",
    ]  # fmt: skip
    assert written["model_config"] == {
        "input_channels": 1,
        "latent_dim": 48,
        "model_type": "EnhancedResNet50Encoder",
    }
    assert written["extracted_from"] == "checkpoint_epoch_15.pth"
    assert written["extraction_info"] == {
        "total_params": count,
        "trainable_params": count,
        "num_weights": 395,
    }


def test_decoder_and_whole_model_are_bare_state_dicts(state: State, tmp_path: Path) -> None:
    path = save(checkpoint(state), tmp_path / "best_model.pth")

    converted(path, tmp_path / "out", "pth", "state-dict")

    decoder = torch.load(tmp_path / "out" / "decoder.pth", weights_only=True)
    whole = torch.load(tmp_path / "out" / "best_model_weights.pth", weights_only=True)
    assert len(decoder) == 260
    assert all(torch.equal(value, state[f"decoder.{key}"]) for key, value in decoder.items())
    assert list(whole) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in whole.items())


def test_without_training_parts_no_decoder_is_written(state: State, tmp_path: Path) -> None:
    path = save(checkpoint(state), tmp_path / "best_model.pth")

    converted(path, tmp_path / "out", no_discriminators=True)

    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "encoder_weights.pth",
        "model_config.json",
        "manifest.json",
    }


def test_settings_name_their_origin_and_tensors_win(state: State, tmp_path: Path) -> None:
    path = save(checkpoint(state, latent_dim=768), tmp_path / "best_model.pth")

    match = recognise(path)

    origins = {name: (setting.value, setting.origin) for name, setting in match.settings.items()}
    assert origins["latent_dim"] == (48, "shape")
    assert origins["input_channels"] == (1, "shape")
    assert origins["image_size"] == (64, "hyper_parameters")
    assert origins["input_scaling"] == (None, "unknown")
    assert origins["encoder_widths"][0]["blocks"] == [3, 4, 6, 3]
    assert any("latent_dim says 768" in sentence for sentence in match.evidence)


@pytest.mark.parametrize(
    ("stored", "config", "expected"),
    [
        (96, {}, (96, "hyper_parameters")),
        (None, {}, (128, "default")),
        ("big", {}, (None, "unknown")),
        (10**9, {}, (None, "unknown")),
        (True, {}, (None, "unknown")),
        (96, {"image_size": "32"}, (32, "option")),
        (96, {"image_size": "64x96"}, ([64, 96], "option")),
        (96, {"image_size": "40x40"}, (40, "option")),
    ],
)
def test_image_size_is_the_options_then_the_files_then_128(
    stored: object, config: dict[str, str], expected: object, state: State, tmp_path: Path
) -> None:
    path = save(checkpoint(state, image_size=stored), tmp_path / "best_model.pth")

    match = recognise(path, **config)

    setting = match.settings["image_size"]
    assert (setting.value, setting.origin) == expected


@pytest.mark.parametrize("text", ["0", "axb", "1x2x3", "", "-5", "12.5"])
def test_an_illegal_image_size_is_a_usage_error(text: str, state: State, tmp_path: Path) -> None:
    path = save(state, tmp_path / "weights.pth")

    with pytest.raises(UsageError, match="image_size"):
        recognise(path, image_size=text)


LOST = [
    "encoder.stem.0.weight",
    "encoder.layer3.5.conv2.weight",
    "encoder.attention2.gamma",
    "encoder.fc.6.bias",
    "decoder.final_conv.9.bias",
]


@pytest.mark.parametrize(
    ("shape", "key"),
    [("training-checkpoint", key) for key in LOST] + [("extracted", key) for key in LOST[:-1]],
)
def test_one_missing_tensor_is_named(shape: str, key: str, state: State, tmp_path: Path) -> None:
    less = {name: value for name, value in state.items() if name != key}
    path = save(SHAPES_OF_FILES[shape](less), tmp_path / "file.pth")

    with pytest.raises(LayoutError) as caught:
        recognise(path)

    assert [item.split()[1] for item in caught.value.seen] == [key]
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "key", [key for key in LOST if key not in ("encoder.stem.0.weight",)] + ["encoder.fc.0.weight"]
)
def test_one_tensor_of_another_shape_is_named(key: str, state: State, tmp_path: Path) -> None:
    wider = torch.zeros([size + 8 for size in state[key].shape])
    path = save({**state, key: wider}, tmp_path / "file.pth")

    with pytest.raises(LayoutError) as caught:
        recognise(path)

    assert [item.split()[2] for item in caught.value.seen] == [key]


def test_an_extra_tensor_travels_with_the_encoder_and_is_refused_by_onnx(
    state: State, tmp_path: Path
) -> None:
    extra = {**state, "encoder.fc.9.weight": torch.ones(3, 48)}
    path = save(extra, tmp_path / "file.pth")

    converted(path, tmp_path / "out")

    written = torch.load(tmp_path / "out" / "encoder_weights.pth", weights_only=True)
    assert torch.equal(written["encoder_state_dict"]["fc.9.weight"], torch.ones(3, 48))
    with pytest.raises(TargetError, match=r"fc\.9|more"):
        converted(path, tmp_path / "onnx", "onnx")
    with pytest.raises(LayoutError, match="1 more"):
        SemanticEncoder(pretrained_path=path)


def test_a_block_index_far_beyond_the_others_is_an_extra_key(state: State, tmp_path: Path) -> None:
    far = {**state, "encoder.layer1.99999.conv1.weight": torch.ones(4, 16, 1, 1)}

    match = recognise(save(far, tmp_path / "file.pth"))

    assert match.extra == ("encoder.layer1.99999.conv1.weight",)


def test_another_decoder_beside_the_same_encoder_is_written_and_not_computed(
    state: State, tmp_path: Path
) -> None:
    other = {"decoder.0.weight": torch.ones(5, 48), "decoder.0.bias": torch.ones(5)}
    path = save({**encoder_of(state, "encoder."), **other}, tmp_path / "file.pth")

    match = recognise(path)

    assert match.layout.name == "autoencoder"
    assert [graph.name for graph in match.layout.graphs(match)] == ["encoder"]
    assert set(match.states["decoder"]) == set(other)


@pytest.mark.parametrize("kind", ["t5", "bart", "plain-autoencoder", "one-encoder-key"])
def test_other_models_with_an_encoder_and_a_decoder_are_not_taken_for_one(
    kind: str, state: State, tmp_path: Path
) -> None:
    path = save(_foreign(kind, state), tmp_path / "file.pth")

    with pytest.raises(LayoutError, match="no known layout"):
        recognise(path)


def _foreign(kind: str, state: State) -> State:
    if kind == "plain-autoencoder":
        return {
            f"{part}.{i}.weight": torch.ones(4, 4)
            for part in ("encoder", "decoder")
            for i in (0, 2)
        }
    if kind == "one-encoder-key":
        return {"encoder.stem.0.weight": state["encoder.stem.0.weight"], "x": torch.ones(2)}
    from transformers import BartConfig, BartModel, T5Config, T5Model

    if kind == "t5":
        small = T5Config(d_model=8, d_ff=8, d_kv=4, num_heads=2, num_layers=2, vocab_size=16)
        return dict(T5Model(small).state_dict())
    bart = BartConfig(
        d_model=8, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8, decoder_ffn_dim=8,
        encoder_attention_heads=2, decoder_attention_heads=2, vocab_size=16,
    )  # fmt: skip
    return dict(BartModel(bart).state_dict())


@pytest.mark.parametrize("size", [(128, 128), (8, 8), (96, 72), (33, 50)], ids=str)
def test_the_network_computes_the_reference_at_any_size(
    size: tuple[int, int], state: State, tmp_path: Path
) -> None:
    encoder = SemanticEncoder(pretrained_path=save(state, tmp_path / "weights.pth"), device="cpu")
    image = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1

    embedding = encoder.encode(image)

    assert relative(embedding.detach(), embed(state, image)) < 1e-5


@pytest.fixture(scope="module")
def shallow() -> State:
    """One bottleneck per stage: exported in a third of the time."""
    return build_state(reshaped(blocks=1))


@pytest.mark.parametrize("size", ["64", "90x72"])
def test_the_onnx_encoder_computes_the_reference(size: str, shallow: State, tmp_path: Path) -> None:
    import onnxruntime

    path = save(checkpoint(shallow), tmp_path / "best_model.pth")
    height, _, width = size.partition("x")
    image = np.random.default_rng(2).uniform(-1, 1, (3, 1, int(height), int(width or height)))

    converted(path, tmp_path / "out", "onnx", config={"image_size": size})

    session = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx")
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("image", ["batch", 1, *image.shape[2:]])
    assert (made.name, made.shape) == ("embedding", ["batch", 48])
    (embedding,) = session.run(None, {"image": image.astype(np.float32)})
    assert relative(embedding, embed(shallow, torch.from_numpy(image.astype(np.float32)))) < 1e-5
    assert not (tmp_path / "out" / "decoder.onnx").exists()


def test_the_onnx_decoder_is_written_when_asked_for(state: State, tmp_path: Path) -> None:
    import onnxruntime

    path = save(checkpoint(state), tmp_path / "best_model.pth")
    embedding = np.random.default_rng(3).standard_normal((2, 48)).astype(np.float32)

    converted(path, tmp_path / "out", "onnx", components=("decoder",), all_components=True)

    session = onnxruntime.InferenceSession(tmp_path / "out" / "decoder.onnx")
    (image,) = session.run(["image"], {"embedding": embedding})
    assert image.shape == (2, 1, 128, 128)
    assert relative(image, decode(state, torch.from_numpy(embedding))) < 1e-5


def test_a_bigger_model_around_the_encoder_is_kept_apart_and_whole(
    state: State, tmp_path: Path
) -> None:
    path = save(backbone(state), tmp_path / "unet.pth")

    report = converted(path, tmp_path / "out")

    rest = torch.load(tmp_path / "out" / "remainder.pth", weights_only=True)
    assert set(rest) == {"outside.encoder.0.weight", "outside.decoder.up.weight", "head.weight"}
    assert torch.equal(rest["outside.encoder.0.weight"], backbone(state)["encoder.0.weight"])
    assert {row.tensor for row in report.manifest.ledger} == set(backbone(state))


@pytest.mark.parametrize(
    ("blocks", "stem", "channels"),
    [(1, None, 3), (2, None, 1), (1, 16, 2)],
    ids=["one-block-three-channels", "two-blocks", "stage-1-without-shortcut"],
)
def test_other_widths_and_depths_are_read_from_the_tensors(
    blocks: int, stem: int | None, channels: int, tmp_path: Path
) -> None:
    shapes = reshaped(blocks, stem, channels)
    state = build_state(shapes)
    image = torch.rand(2, channels, 40, 24, generator=torch.Generator().manual_seed(6))

    encoder = SemanticEncoder(pretrained_path=save(state, tmp_path / "w.pth"), device="cpu")

    assert relative(encoder(image).detach(), embed(state, image)) < 1e-5


def test_without_a_file_it_is_the_origins_network() -> None:
    with torch.device("meta"):
        from convcore_autoencoder.nets import Decoder, Encoder

        networks = {"encoder": Encoder(), "decoder": Decoder()}

    shapes = {
        f"{part}.{key}": list(value.shape)
        for part, network in networks.items()
        for key, value in network.state_dict().items()
    }
    assert shapes == SHAPES
    assert list(shapes) == list(SHAPES)


def test_declaring_the_layout_imports_no_torch() -> None:
    code = "import sys, convcore_autoencoder; print({'torch', 'numpy', 'onnx'} & set(sys.modules))"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "set()"


def test_the_committed_example_converts_and_its_script_runs(tmp_path: Path) -> None:
    output = tmp_path / "out"

    converted(EXAMPLE, output, "pth", "onnx", create_inference_script=True)

    script = [sys.executable, str(output / "inference_example.py")]
    shown = subprocess.run(script, capture_output=True, text=True, check=True, cwd=tmp_path)
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["settings"]["image_size"] == {"value": 128, "origin": "hyper_parameters"}
    assert "embedding" in shown.stdout


def test_the_example_for_weight_files_computes_with_torch_alone(
    state: State, tmp_path: Path
) -> None:
    path = save(checkpoint(state), tmp_path / "best_model.pth")

    converted(path, tmp_path / "out", "pth", create_inference_script=True)

    script = [sys.executable, str(tmp_path / "out" / "inference_example.py")]
    shown = subprocess.run(script, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "embedding (2, 48)" in shown.stdout


def test_a_near_miss_leaves_nothing_behind_and_exits_with_4(state: State, tmp_path: Path) -> None:
    less = {key: value for key, value in state.items() if key != "encoder.fc.3.bias"}
    path = save(checkpoint(less), tmp_path / "best_model.pth")
    command = [sys.executable, "-m", "convcore", "convert", str(path), "-o", str(tmp_path / "out")]

    shown = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)

    assert shown.returncode == 4
    assert "encoder.fc.3.bias" in json.loads(shown.stdout)["error"]["what"]
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The origin's only size, 531 MB, filled by the rule that the golden numbers were made with."""
    tree = checkpoint(build_state(SHAPES), image_size=128, latent_dim=768)
    return save(tree, tmp_path_factory.mktemp("full") / "checkpoint_epoch_15.pth")


@pytest.mark.slow
def test_the_full_network_gives_the_golden_numbers(full: Path) -> None:
    encoder = SemanticEncoder(pretrained_path=full, device="cpu")
    network = encoder.encoder
    seen: dict[str, torch.Tensor] = {}
    network.attention1.register_forward_hook(lambda m, i, o: seen.update(x1_mean=o.mean((2, 3))))
    network.attention3.register_forward_hook(lambda m, i, o: seen.update(x3_mean=o.mean((2, 3))))
    network.se_block.register_forward_hook(lambda m, i, o: seen.update(x4_after_se=o[:, ::16]))
    network.fc.register_forward_pre_hook(lambda m, i: seen.update(combined_features=i[0][:1]))

    seen["embedding"] = encoder.encode_batch(torch.from_numpy(GOLDEN["in_x"]))
    inside = dict(seen)
    other = encoder.encode_batch(torch.from_numpy(GOLDEN["in_other_hundredths"] / 100).float())
    raw = (GOLDEN["in_raw_tenths"] / 10).astype(np.float32)
    found = {**inside, "embedding_other_size": other}
    found["encode_numpy_embedding"] = torch.from_numpy(encoder.encode_numpy(raw, batch_size=1))

    differences = {name: relative(value, GOLDEN[name]) for name, value in found.items()}
    print(differences)
    assert len(differences) == 7
    assert max(differences.values()) < 1e-5


@pytest.mark.slow
def test_the_reference_gives_the_golden_numbers() -> None:
    full_state = build_state(SHAPES)

    embedding = embed(full_state, torch.from_numpy(GOLDEN["in_x"]))
    image = decode(full_state, embedding[:1])

    assert relative(embedding, GOLDEN["embedding"]) < 1e-5
    assert relative(image, GOLDEN["reconstruction"]) < 1e-5


@pytest.mark.slow
def test_the_full_checkpoint_converts_and_its_graphs_give_the_golden_numbers(
    full: Path, tmp_path: Path
) -> None:
    import onnxruntime

    converted(full, tmp_path / "out", "pth", "onnx", all_components=True)

    encoder = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx")
    decoder = onnxruntime.InferenceSession(tmp_path / "out" / "decoder.onnx")
    (embedding,) = encoder.run(None, {"image": GOLDEN["in_x"]})
    (image,) = decoder.run(None, {"embedding": GOLDEN["embedding"][:1]})
    written = torch.load(tmp_path / "out" / "encoder_weights.pth", weights_only=True, mmap=True)
    differences = (
        relative(embedding, GOLDEN["embedding"]),
        relative(image, GOLDEN["reconstruction"]),
    )
    print(differences)
    assert max(differences) < 1e-5
    assert written["extraction_info"]["total_params"] == 81_368_298
    assert (tmp_path / "out" / "encoder.onnx_data").stat().st_size > 300_000_000
