"""UMC: what its networks compute, against the golden numbers, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn.functional import gelu

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.host.registry import Registry, load_registry
from convcore.layouts.example_inputs import draw, sizes_for
from convcore.layouts.layout import LayoutMatch
from convcore.targets.networks import build
from convcore_umc import nets
from tests.plugins.umc_golden import (
    BERT,
    GOLDEN,
    INPUTS,
    NAME,
    OPTIONS,
    RUN,
    assert_golden,
    golden_state,
    recognised,
    save,
)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture(scope="module")
def converted(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden run as ONNX, .pth and the origin's own file."""
    output = tmp_path_factory.mktemp("umc") / "out"
    convert(Request(RUN, output, ("onnx", "pth", "state-dict"), config=OPTIONS), registry)
    return output


def run_onnx(file: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, inputs)


def full(match: LayoutMatch) -> tuple[np.ndarray, ...]:
    """What the whole network computes from the golden inputs, in torch."""
    graph = next(graph for graph in match.layout.graphs(match) if graph.name == "full")
    with torch.inference_mode():
        answer = build(graph, match)(*map(torch.from_numpy, INPUTS.values()))
    return tuple(value.numpy() for value in answer)


@pytest.mark.parametrize("modality", ["text", "video", "audio"])
def test_each_encoder_gives_the_origins_feature(modality: str, converted: Path) -> None:
    (feature,) = run_onnx(
        converted / f"{modality}_encoder.onnx", **{modality: GOLDEN[f"in_{modality}"]}
    )

    assert_golden(feature, f"{modality}_feature")


@pytest.mark.parametrize(
    ("view", "silenced"),
    [("", ()), ("t0a_", ("video",)), ("tv0_", ("audio",))],
    ids=["all-three", "video-zeroed", "audio-zeroed"],
)
def test_the_full_graph_gives_the_origins_outputs_for_every_view(
    view: str, silenced: tuple[str, ...], converted: Path
) -> None:
    inputs = {name: GOLDEN[f"in_{name}"] for name in ("text", "video", "audio")}
    inputs |= {name: np.zeros_like(inputs[name]) for name in silenced}

    features, mlp_output = run_onnx(converted / "full.onnx", **inputs)

    assert_golden(features, f"{view}features")
    assert_golden(mlp_output, f"{view}mlp_output")


def test_the_pretrained_file_gives_the_origins_pretraining_outputs(registry: Registry) -> None:
    match = recognised(RUN / "models/pretrain/pytorch_model.bin", registry, **OPTIONS)

    features, mlp_output = full(match)

    assert_golden(features, "pretrain_features")
    assert_golden(mlp_output, "pretrain_mlp_output")
    assert match.checkpoint.metadata["stage"] == "pretraining"


def test_the_states_inside_the_encoders_are_the_origins(registry: Registry) -> None:
    match = recognised(RUN, registry, **OPTIONS)
    modules = {graph.name: build(graph, match) for graph in match.layout.graphs(match)}
    text, video, audio = (
        torch.from_numpy(GOLDEN[f"in_{name}"]) for name in ("text", "video", "audio")
    )
    pictures, sounds = modules["video_encoder"], modules["audio_encoder"]

    with torch.inference_mode():
        words = modules["text_encoder"].text_embedding(text)
        seen = pictures.v_encoder(pictures.video_layer(video))
        heard = sounds.a_encoder(sounds.audio_layer(audio))

    assert_golden(words.numpy(), "bert_last_hidden")
    assert_golden(seen.numpy(), "video_encoder_seq")
    assert_golden(heard.numpy(), "audio_encoder_seq")


def test_the_pieces_put_together_by_hand_are_the_whole(converted: Path) -> None:
    text, video, audio = (
        torch.from_numpy(
            run_onnx(converted / f"{name}_encoder.onnx", **{name: GOLDEN[f"in_{name}"]})[0]
        )
        for name in ("text", "video", "audio")
    )
    fusion, head = (
        torch.load(converted / f"{name}.pth", weights_only=True) for name in ("fusion", "mlp_head")
    )

    features = gelu(torch.cat([text, audio, video], 1)) @ fusion["weight"].T + fusion["bias"]
    mlp_output = features.relu() @ head["weight"].T + head["bias"]

    assert_golden(features.numpy(), "features")
    assert_golden(mlp_output.numpy(), "mlp_output")


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "every-step-sees-all"])
@pytest.mark.parametrize("width", [24, 25], ids=["even", "odd"])
def test_deeper_encoders_compute_what_torchs_own_layers_compute(width: int, causal: bool) -> None:
    heads, layers, length = (4, 3, 7) if width == 24 else (5, 2, 6)
    torch.manual_seed(0)
    ours = nets.SequenceEncoder(width, heads, layers, length, causal=causal, version=False).eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, 0.0, norm_first=True, batch_first=True
    )
    theirs = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
    names = {"fc1": "linear1", "fc2": "linear2", "layer_norms.0": "norm1", "layer_norms.1": "norm2"}
    state = {}
    for key, value in ours.state_dict().items():
        for name, other in names.items():
            key = key.replace(f".{name}.", f".{other}.")
        state[f"norm{key.removeprefix('layer_norm')}" if key.startswith("layer_norm.") else key] = (
            value
        )
    theirs.load_state_dict(state)
    x = torch.randn(3, length, width)
    half = width // 2
    frequency = np.exp(-np.arange(half) * np.log(10000) / (half - 1))
    angle = np.arange(1, length + 1)[:, None] * frequency
    position = np.concatenate([np.sin(angle), np.cos(angle), np.zeros((length, width % 2))], 1)
    mask = nn.Transformer.generate_square_subsequent_mask(length) if causal else None

    with torch.inference_mode():
        here = ours(x)
        there = theirs.eval()(width**0.5 * x + torch.from_numpy(position).float(), mask=mask)

    torch.testing.assert_close(here, there, rtol=0, atol=2e-5)


def test_a_step_whose_first_channel_is_zero_gets_no_position() -> None:
    encoder = nets.SequenceEncoder(8, 2, 0, 3, causal=True, version=False)
    x = torch.zeros(1, 3, 8)
    x[0, 1, 0] = 1e-30  # anything but zero is a step like any other

    steps = encoder(x)

    assert torch.equal(steps[0, 0], torch.zeros(8))
    assert torch.equal(steps[0, 2], torch.zeros(8))
    assert steps[0, 1].abs().max() > 0.5


def test_made_up_texts_are_legal_for_the_tokenizer_and_for_bert(registry: Registry) -> None:
    match = recognised(RUN, registry, **OPTIONS)
    graph = next(g for g in match.layout.graphs(match) if g.name == "full")

    text = draw(graph, {**sizes_for(graph).traced, "batch": 50}, seed=3)["text"]

    ids, mask, segments = text[:, 0], text[:, 1], text[:, 2]
    assert text.shape == (50, 3, 12)
    assert ids.min() >= 0
    assert ids.max() < 77
    assert set(np.unique(mask)) == {0, 1}
    assert (np.diff(mask) <= 0).all()  # padding only at the end
    assert (mask[:, 0] == 1).all()
    assert (ids[mask == 0] == 0).all()
    assert set(np.unique(segments)) == {0, 1}
    assert len(set(mask.sum(1))) > 3


def test_weight_files_hold_the_origins_tensors_under_short_names(converted: Path) -> None:
    source = golden_state()
    outer = {
        "text_encoder": "method_model.backbone.",
        "video_encoder": "method_model.backbone.",
        "audio_encoder": "method_model.backbone.",
        "fusion": "method_model.backbone.fusion_layer.2.",
        "mlp_head": "method_model.mlp_head.2.",
        "shared_embedding_layer": "method_model.backbone.shared_embedding_layer.2.",
    }

    written = {
        prefix + key: value
        for name, prefix in outer.items()
        for key, value in torch.load(converted / f"{name}.pth", weights_only=True).items()
    }

    left = {key for key in source if key.endswith(("position_ids", "_float_tensor"))}
    assert written.keys() == source.keys() - left
    assert len(left) == 3
    assert all(torch.equal(written[key], source[key]) for key in written)


def test_the_state_dict_target_gives_back_the_origins_file_whole(converted: Path) -> None:
    source = golden_state()

    written = torch.load(converted / "pytorch_model.bin", weights_only=True)

    assert list(written) == list(source)
    # _float_tensor is uninitialised memory: bytes are compared, since it may be NaN
    assert all(written[k].numpy().tobytes() == source[k].numpy().tobytes() for k in source)


def test_what_is_left_out_is_in_the_ledger_with_its_reason(converted: Path) -> None:
    ledger = json.loads((converted / "manifest.json").read_text())["ledger"]

    reasons = {
        row["tensor"].rpartition(".")[2]: row["reason"]
        for row in ledger
        if row["target"] == "pth" and row["state"] == "dropped"
    }

    assert reasons.keys() == {"position_ids", "_float_tensor"}
    assert "newer transformers" in reasons["position_ids"]
    assert "uninitialised" in reasons["_float_tensor"]


def test_the_unused_layer_is_not_exported_and_not_written_without_training_parts(
    registry: Registry, tmp_path: Path
) -> None:
    report = convert(Request(RUN, tmp_path / "out", no_discriminators=True), registry)

    assert {file.path for file in report.files if file.path.endswith(".pth")} == {
        f"{name}.pth"
        for name in ("text_encoder", "video_encoder", "audio_encoder", "fusion", "mlp_head")
    }


@pytest.mark.parametrize(
    "absent",
    ["position_ids", ".version", "_float_tensor"],
    ids=["position-ids", "version", "float-tensor"],
)
def test_a_file_without_what_no_forward_reads_computes_the_same(
    absent: str, registry: Registry, tmp_path: Path
) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        for key in [key for key in state if key.endswith(absent)]:
            del state[key]

    path = save(tmp_path, edit, NAME)

    features, mlp_output = full(recognised(path, registry, **OPTIONS, bert_config=BERT))

    assert_golden(features, "features")
    assert_golden(mlp_output, "mlp_output")


def test_the_batch_is_the_only_size_that_may_vary(converted: Path) -> None:
    session = onnxruntime.InferenceSession(converted / "full.onnx")

    inputs = {each.name: each.shape for each in session.get_inputs()}
    outputs = {each.name: each.shape for each in session.get_outputs()}

    assert inputs == {
        "text": ["batch", 3, 12],
        "video": ["batch", 10, 20],
        "audio": ["batch", 14, 24],
    }
    assert outputs == {"features": ["batch", 32], "mlp_output": ["batch", 32]}
