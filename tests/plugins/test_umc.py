"""UMC: the golden run folder, what its file does not say, and what is near it but wrong."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from convcore_umc import nets
from convcore_umc.runs import find_runs, parse_run_name
from torch import nn
from torch.nn.functional import gelu

from convcore.errors import LayoutError, SourceError, TargetError, UsageError
from convcore.host import Registry, load_registry
from convcore.inspection import inspect
from convcore.network import build
from convcore.pipeline import Request, convert, recognise
from convcore.samples import draw, sizes_for

DATA = Path(__file__).parent.parent / "data/umc"
NAME = "umc_umc_MELD-DA_bert-base-uncased_0"
RUN = DATA / "outputs" / NAME
FILE = RUN / "models/pytorch_model.bin"
BERT = DATA / "uncased_L-12_H-768_A-12/config.json"
GOLDEN = dict(np.load(DATA / "golden.npz"))
OPTIONS = {"nheads": "4", "text_length": "12", "video_length": "10", "audio_length": "14"}
TEXT = "method_model.backbone.text_embedding.bert."
POSITION_IDS = f"{TEXT}embeddings.position_ids"
UNKNOWN = ["bert_heads", "nheads", "attn_mask", "text_length", "video_length", "audio_length"]
Edit = Callable[[dict[str, torch.Tensor]], None]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture(scope="module")
def converted(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden run as ONNX, .pth and the origin's own file."""
    output = tmp_path_factory.mktemp("umc") / "out"
    convert(Request(RUN, output, ("onnx", "pth", "state-dict"), config=OPTIONS), registry)
    return output


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Save the golden state dict anew, edited, bare or in a run folder of some name."""

    def save(edit: Edit = lambda state: None, run: str | None = None) -> Path:
        state = torch.load(FILE, weights_only=True)
        edit(state)
        path = tmp_path / "project/outputs" / (run or "somewhere")
        path = path / "models/pytorch_model.bin" if run else path / "pytorch_model.bin"
        path.parent.mkdir(parents=True)
        torch.save(state, path)
        return path

    return save


def run_onnx(file: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, inputs)


def assert_golden(value: np.ndarray, name: str) -> None:
    golden = GOLDEN[name]
    np.testing.assert_allclose(value, golden, rtol=0, atol=1e-5 * np.abs(golden).max())


def origins(path: Path, registry: Registry, **config: object) -> dict[str, tuple[object, str]]:
    texts = {name: str(value) for name, value in config.items()}
    match = recognise(Request(path, path / "unused", config=texts), registry)
    return {name: (setting.value, setting.origin) for name, setting in match.settings.items()}


def evidence(path: Path, registry: Registry) -> str:
    return "\n".join(recognise(Request(path, path / "unused"), registry).evidence)


# --- what the networks compute -----------------------------------------------------------------


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


def test_the_pretrained_file_gives_the_origins_pretraining_outputs(
    registry: Registry, tmp_path: Path
) -> None:
    file = RUN / "models/pretrain/pytorch_model.bin"
    inputs = {name: GOLDEN[f"in_{name}"] for name in ("text", "video", "audio")}

    report = convert(Request(file, tmp_path / "out", ("onnx",), config=OPTIONS), registry)

    features, mlp_output = run_onnx(tmp_path / "out/full.onnx", **inputs)
    assert_golden(features, "pretrain_features")
    assert_golden(mlp_output, "pretrain_mlp_output")
    assert report.plan.match.checkpoint.metadata["stage"] == "pretraining"


def test_the_states_inside_the_encoders_are_the_origins(registry: Registry) -> None:
    match = recognise(Request(RUN, RUN / "unused", config=OPTIONS), registry)
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
    match = recognise(Request(RUN, RUN / "unused", config=OPTIONS), registry)
    graph = next(g for g in match.layout.graphs(match) if g.name == "full")

    text = draw(graph, {**sizes_for(graph).traced, "batch": 50}, seed=3)["text"]

    ids, mask, segments = text[:, 0], text[:, 1], text[:, 2]
    assert text.shape == (50, 3, 12)
    assert 0 <= ids.min() and ids.max() < 77
    assert set(np.unique(mask)) == {0, 1}
    assert (np.diff(mask) <= 0).all()  # padding only at the end
    assert (mask[:, 0] == 1).all()
    assert set(np.unique(segments)) == {0, 1}
    assert len(set(mask.sum(1))) > 3


# --- what is written ---------------------------------------------------------------------------


def test_weight_files_hold_the_origins_tensors_under_short_names(converted: Path) -> None:
    source = torch.load(FILE, weights_only=True)
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
    source = torch.load(FILE, weights_only=True)

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
    report = convert(Request(RUN, tmp_path / "out", discriminators=False), registry)

    assert {file.path for file in report.files if file.path.endswith(".pth")} == {
        f"{name}.pth"
        for name in ("text_encoder", "video_encoder", "audio_encoder", "fusion", "mlp_head")
    }


@pytest.mark.parametrize(
    "absent",
    [POSITION_IDS, ".version", "_float_tensor"],
    ids=["position-ids", "version", "float-tensor"],
)
def test_a_file_without_what_no_forward_reads_computes_the_same(
    absent: str, registry: Registry, saved: Callable[..., Path], tmp_path: Path
) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        for key in [key for key in state if key.endswith(absent)]:
            del state[key]

    config = {**OPTIONS, "bert_config": str(BERT)}
    inputs = {name: GOLDEN[f"in_{name}"] for name in ("text", "video", "audio")}

    convert(Request(saved(edit, NAME), tmp_path / "out", ("onnx",), config=config), registry)

    assert_golden(run_onnx(tmp_path / "out/full.onnx", **inputs)[0], "features")


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


# --- what the tensors do not say ---------------------------------------------------------------


def test_an_option_beats_the_file_and_the_file_beats_the_dataset(
    registry: Registry, tmp_path: Path
) -> None:
    other = tmp_path / "other/config.json"
    other.parent.mkdir()
    other.write_text(json.dumps({**json.loads(BERT.read_text()), "num_attention_heads": 6}))

    near = origins(RUN, registry)
    chosen = origins(RUN, registry, bert_config=other, attn_mask="false", video_length=10)
    exact = origins(RUN, registry, bert_config=other, bert_heads=3)

    assert near["bert_heads"] == (4, "file")
    assert near["attn_mask"] == (True, "dataset")
    assert near["nheads"] == (8, "dataset")
    assert near["video_length"] == (250, "dataset")
    assert near["base_dim"] == (32, "shape")
    assert chosen["bert_config"] == ("other/config.json", "option")
    assert chosen["bert_heads"] == (6, "file")
    assert chosen["attn_mask"] == (False, "option")
    assert chosen["video_length"] == (10, "option")
    assert exact["bert_heads"] == (3, "option")


@pytest.mark.parametrize(
    ("dataset", "lengths"),
    [("MIntRec", (30, 230, 480)), ("MELD-DA", (None, 250, 520)), ("IEMOCAP-DA", (None, 230, 380))],
)
def test_a_run_folder_that_names_a_known_dataset_brings_its_lengths(
    dataset: str,
    lengths: tuple[int | None, int, int],
    registry: Registry,
    saved: Callable[..., Path],
) -> None:
    path = saved(run=f"umc_umc_{dataset}_bert-base-uncased_3")

    settings = origins(path, registry)

    found = tuple(settings[f"{name}_length"][0] for name in ("text", "video", "audio"))
    assert found == lengths  # this BERT's 40 positions are too few for two of them
    assert settings["nheads"] == (8, "dataset")
    assert settings["bert_heads"] == (None, "unknown")
    assert "base_dim 32 instead of 256" in evidence(path, registry)


def test_a_dataset_whose_heads_do_not_divide_the_width_leaves_them_unknown(
    registry: Registry, saved: Callable[..., Path]
) -> None:
    def narrow(state: dict[str, torch.Tensor]) -> None:
        for key, value in state.items():
            if TEXT not in key:
                sizes = [28 * (n // 32) if n % 32 == 0 else n for n in value.shape]
                state[key] = torch.zeros(sizes)

    path = saved(narrow, NAME)

    settings = origins(path, registry)

    assert settings["nheads"] == (None, "unknown")
    assert "a width of 28 cannot be shared by 8 heads" in evidence(path, registry)


def test_whatever_is_unknown_stops_onnx_and_every_option_is_named_at_once(
    registry: Registry, saved: Callable[..., Path], tmp_path: Path
) -> None:
    path = saved()

    with pytest.raises(LayoutError) as caught:
        convert(Request(path, tmp_path / "out", ("onnx",)), registry)

    assert all(f"--config {name}=" in caught.value.remedy for name in UNKNOWN)
    assert "bert_config" in str(caught.value.seen)
    assert not (tmp_path / "out").exists()
    assert {name: origins(path, registry)[name] for name in UNKNOWN} == dict.fromkeys(
        UNKNOWN, (None, "unknown")
    )


def test_only_what_a_chosen_component_needs_is_asked_for(
    registry: Registry, saved: Callable[..., Path], tmp_path: Path
) -> None:
    config = {"nheads": "4", "attn_mask": "TRUE"}
    request = Request(
        saved(), tmp_path / "out", ("onnx",), components=("video_encoder",), config=config
    )

    with pytest.raises(LayoutError) as caught:
        convert(request, registry)

    assert "video_length" in caught.value.what
    assert not any(name in str(caught.value.as_dict()) for name in ("text_length", "bert_heads"))


def test_weights_are_split_without_knowing_any_of_it(
    registry: Registry, saved: Callable[..., Path], tmp_path: Path
) -> None:
    report = convert(Request(saved(), tmp_path / "out", ("pth", "safetensors")), registry)

    assert len([file for file in report.files if file.component]) == 12


def test_a_datasets_text_length_beyond_berts_positions_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(LayoutError, match="text_length") as caught:
        convert(Request(RUN, tmp_path / "out", ("onnx",)), registry)

    assert "BERT has 40 positions" in str(caught.value.seen)


ILLEGAL = {
    "text-beyond-positions": ("text_length", "41", "40 positions"),
    "heads-do-not-divide": ("nheads", "5", "32"),
    "bert-heads-do-not-divide": ("bert_heads", "7", "48"),
    "no-boolean": ("attn_mask", "1", "true or false"),
    "no-length": ("video_length", "0", "above 0"),
    "no-such-file": ("bert_config", "nowhere/config.json", "nowhere"),
}


@pytest.mark.parametrize(("name", "value", "reason"), ILLEGAL.values(), ids=ILLEGAL.keys())
def test_an_illegal_option_is_refused_with_its_reason(
    name: str, value: str, reason: str, registry: Registry
) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        origins(RUN, registry, **{name: value})

    assert reason in caught.value.what


WRONG_CONFIGS = {
    "other-size": ({"hidden_size": 64}, "hidden_size is 64, the tensors have 48"),
    "other-depth": ({"num_hidden_layers": 12}, "the tensors have 2"),
    "heads-as-text": ({"num_attention_heads": "4"}, "'4'"),
    "unknown-activation": ({"hidden_act": ["gelu"]}, "hidden_act"),
    "eps-as-text": ({"layer_norm_eps": "small"}, "layer_norm_eps"),
    "a-decoder": ({"is_decoder": True}, "is_decoder"),
    "relative-positions": ({"position_embedding_type": "relative_key"}, "relative_key"),
    "another-model": ({"model_type": "roberta"}, "roberta"),
}


@pytest.mark.parametrize(("change", "reason"), WRONG_CONFIGS.values(), ids=WRONG_CONFIGS.keys())
def test_a_named_config_that_is_not_of_this_bert_is_refused(
    change: dict[str, object], reason: str, registry: Registry, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(BERT.read_text()), **change}))

    with pytest.raises(UsageError) as caught:
        origins(RUN, registry, bert_config=path)

    assert reason in caught.value.what


NEAR = {
    "beside-outputs": "project/uncased_L-12_H-768_A-12",
    "in-the-run-folder": f"project/outputs/{NAME}/bert",
    "beside-the-file": f"project/outputs/{NAME}/models",
    "five-above": "tiny-bert",
}


@pytest.mark.parametrize("place", NEAR.values(), ids=NEAR.keys())
def test_a_bert_folder_near_the_run_settles_its_heads(
    place: str, registry: Registry, saved: Callable[..., Path], tmp_path: Path
) -> None:
    path = saved(run=NAME)
    (tmp_path / place).mkdir(exist_ok=True)
    shutil.copy(BERT, tmp_path / place / "config.json")

    settings = origins(path, registry)

    assert settings["bert_heads"] == (4, "file")
    assert settings["bert_config"] == (f"{Path(place).name}/config.json", "file")


def test_two_bert_folders_that_differ_only_in_heads_settle_nothing(
    registry: Registry, saved: Callable[..., Path], tmp_path: Path
) -> None:
    path = saved(run=NAME)
    for heads in (4, 8):
        folder = tmp_path / f"project/bert-{heads}"
        folder.mkdir()
        config = {**json.loads(BERT.read_text()), "num_attention_heads": heads}
        (folder / "config.json").write_text(json.dumps(config))

    settings = origins(path, registry)

    assert settings["bert_heads"] == (None, "unknown")
    assert "bert-4/config.json (4 heads), bert-8/config.json (8 heads)" in evidence(path, registry)


@pytest.mark.parametrize(
    "content", ['{"model_type": "bert"', "[1]", '{"model_type": "t5"}'], ids=["cut", "list", "t5"]
)
def test_a_config_nearby_that_is_none_of_berts_disturbs_nobody(
    content: str, registry: Registry, saved: Callable[..., Path], tmp_path: Path
) -> None:
    path = saved(run=NAME)
    (tmp_path / "project/config.json").write_text(content)

    settings = origins(path, registry)

    assert settings["bert_heads"] == (None, "unknown")


def test_a_model_of_the_published_sizes_needs_no_option_at_all(
    registry: Registry, tmp_path: Path
) -> None:
    sizes = {77: 30522, 40: 512, 48: 768, 64: 3072, 32: 256, 96: 768, 128: 1024, 20: 1024, 24: 768}
    state = {}
    for key, value in torch.load(FILE, weights_only=True).items():
        shape = [sizes.get(n, n) for n in value.shape]
        for index in range(12 if ".layer.0." in key else ".layer.1." not in key):
            # one element, seen as many: a real file has 440 MB
            name = key.replace(".layer.0.", f".layer.{index}.")
            state[name] = torch.zeros((), dtype=value.dtype).expand(shape)
    path = tmp_path / NAME / "models/pytorch_model.bin"
    path.parent.mkdir(parents=True)
    torch.save(state, path)

    settings = origins(path, registry)

    assert len(state) == 244
    assert settings["bert_heads"] == (12, "default")
    assert settings["text_length"] == (70, "dataset")
    assert not [name for name, (_, origin) in settings.items() if origin == "unknown"]


def test_bert_needs_transformers_and_says_so_before_anything_is_written(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # Python's way to say: not installed

    with pytest.raises(TargetError, match="transformers"):
        convert(Request(RUN, tmp_path / "out", ("onnx",), config=OPTIONS), registry)

    assert not (tmp_path / "out").exists()


# --- run folders -------------------------------------------------------------------------------

NAMES = {
    NAME: ("umc", "umc", "MELD-DA", "bert-base-uncased", 0),
    "mcn_umc_IEMOCAP-DA_bert-base-uncased_12": (
        "mcn", "umc", "IEMOCAP-DA", "bert-base-uncased", 12,
    ),
    "umc_umc_MIntRec_uncased_L-12_H-768_A-12_1": (
        "umc", "umc", "MIntRec", "uncased_L-12_H-768_A-12", 1,
    ),
    "umc_umc_my_own_set_bert-large_7": ("umc", "umc", "my_own_set", "bert-large", 7),
}  # fmt: skip


@pytest.mark.parametrize(("name", "parts"), NAMES.items(), ids=NAMES.keys())
def test_a_run_folders_name_is_read_from_both_ends(name: str, parts: tuple[object, ...]) -> None:
    found = parse_run_name(name)

    assert found is not None
    assert tuple(found.values()) == parts


@pytest.mark.parametrize(
    "name", ["models", "umc_umc_MELD-DA_0", "umc_umc_MELD-DA_bert_seed", "umc__MELD-DA_bert_0", ""]
)
def test_any_other_name_is_no_run(name: str) -> None:
    assert parse_run_name(name) is None


@pytest.mark.parametrize(
    "given",
    [RUN, RUN / "models", FILE, RUN / "models/pretrain"],
    ids=["run", "models", "file", "pretrain"],
)
def test_a_run_is_read_however_it_is_pointed_at(given: Path, registry: Registry) -> None:
    checkpoint = recognise(Request(given, DATA / "unused"), registry).checkpoint

    named = {
        key: checkpoint.metadata[key] for key in ("method", "dataset", "text_backbone", "seed")
    }
    assert checkpoint.source == "umc"
    assert checkpoint.path.name == "pytorch_model.bin"
    assert named == {
        "method": "umc", "dataset": "MELD-DA", "text_backbone": "bert-base-uncased", "seed": 0,
    }  # fmt: skip


def test_a_relative_path_inside_the_run_still_names_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FILE.parent)

    settings = origins(Path("pytorch_model.bin"), registry)

    assert settings["video_length"] == (250, "dataset")
    assert settings["bert_heads"] == (4, "file")


def test_a_run_that_saved_no_weights_is_named_as_such(registry: Registry, tmp_path: Path) -> None:
    run = tmp_path / NAME
    (run / "models").mkdir(parents=True)

    with pytest.raises(SourceError, match="holds no models/pytorch_model.bin"):
        inspect(run, registry)


def test_a_folder_of_transformers_own_is_no_run(registry: Registry, tmp_path: Path) -> None:
    torch.save({"embeddings.weight": torch.ones(2)}, tmp_path / "pytorch_model.bin")

    with pytest.raises(SourceError, match="no checkpoint that a source knows"):
        inspect(tmp_path, registry)


def test_a_folder_of_runs_gives_one_row_each_in_the_order_of_seeds(
    registry: Registry, tmp_path: Path
) -> None:
    for seed in (10, 2):
        models = tmp_path / f"outputs/MELD-DA/umc_umc_MELD-DA_bert-base-uncased_{seed}/models"
        models.mkdir(parents=True)
        shutil.copy(FILE, models)
    other = tmp_path / "outputs/umc_umc_MIntRec_bert-base-uncased_0/models/pretrain"
    other.mkdir(parents=True)
    shutil.copy(RUN / "models/pretrain/pytorch_model.bin", other)

    runs = find_runs(tmp_path / "outputs")
    rows = inspect(tmp_path / "outputs", registry)["runs"]

    assert [run.relative_to(tmp_path / "outputs").parts[-3] for run in runs[:2]] == [
        "umc_umc_MELD-DA_bert-base-uncased_2",
        "umc_umc_MELD-DA_bert-base-uncased_10",
    ]
    assert {(row["dataset"], row["seed"], row["layout"], row["bytes"]) for row in rows} == {
        ("MELD-DA", 2, "umc", FILE.stat().st_size),
        ("MELD-DA", 10, "umc", FILE.stat().st_size),
        ("MIntRec", 0, "umc", FILE.stat().st_size),
    }
    assert len({row["sha256"] for row in rows}) == 2
    assert find_runs(RUN) == []


# --- near misses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        f"{TEXT}encoder.layer.1.output.dense.bias",
        f"{TEXT}pooler.dense.weight",
        "method_model.backbone.v_encoder.layers.0.self_attn.in_proj_weight",
        "method_model.backbone.text_layer.weight",
        "method_model.mlp_head.2.bias",
        "method_model.backbone.shared_embedding_layer.2.bias",
    ],
)
def test_one_missing_tensor_is_named_with_its_shape(
    key: str, registry: Registry, saved: Callable[..., Path]
) -> None:
    shape = tuple(torch.load(FILE, weights_only=True)[key].shape)
    path = saved(lambda state: state.pop(key))

    with pytest.raises(LayoutError) as caught:
        origins(path, registry)

    shown = f"({', '.join(map(str, shape))})"
    assert any(line.startswith(f"missing: {key} {shown}") for line in caught.value.seen)


@pytest.mark.parametrize(
    "key",
    [
        "method_model.backbone.text_layer.weight",
        "method_model.backbone.fusion_layer.2.weight",
        f"{TEXT}embeddings.word_embeddings.weight",
        "method_model.backbone.a_encoder.layers.0.fc1.weight",
    ],
)
def test_one_tensor_of_another_shape_is_named_and_does_not_change_the_others(
    key: str, registry: Registry, saved: Callable[..., Path]
) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        state[key] = torch.zeros(5, 3)

    with pytest.raises(LayoutError) as caught:
        origins(saved(edit), registry)

    assert [line for line in caught.value.seen if "(5, 3)" in line]
    assert len(caught.value.seen) == 1


def test_a_missing_layer_in_the_middle_is_missed(
    registry: Registry, saved: Callable[..., Path]
) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        for key in [key for key in state if ".encoder.layer.0." in key]:
            del state[key]

    with pytest.raises(LayoutError) as caught:
        origins(saved(edit), registry)

    assert len(caught.value.seen) == 16


def test_a_stray_key_with_an_absurd_layer_number_costs_nothing(
    registry: Registry, saved: Callable[..., Path]
) -> None:
    stray = f"{TEXT}encoder.layer.999999999.output.dense.bias"

    path = saved(lambda state: state.update({stray: torch.ones(1)}))

    assert recognise(Request(path, path / "unused"), registry).extra == (stray,)


def test_one_key_more_travels_with_the_weights_and_is_refused_by_onnx(
    registry: Registry, saved: Callable[..., Path], tmp_path: Path
) -> None:
    extra = "method_model.backbone.v_encoder.extra"
    path = saved(lambda state: state.update({extra: torch.ones(2)}), NAME)
    config = {**OPTIONS, "bert_heads": "4"}

    convert(Request(path, tmp_path / "pth", config=config), registry)
    with pytest.raises(TargetError, match="extra"):
        convert(Request(path, tmp_path / "onnx", ("onnx",), config=config), registry)

    written = torch.load(tmp_path / "pth/video_encoder.pth", weights_only=True)
    assert torch.equal(written["v_encoder.extra"], torch.ones(2))


def test_a_wrappers_prefix_is_removed_and_mentioned(
    registry: Registry, saved: Callable[..., Path]
) -> None:
    def wrap(state: dict[str, torch.Tensor]) -> None:
        for key in list(state):
            state[f"module.{key}"] = state.pop(key)

    path = saved(wrap, NAME)

    match = recognise(Request(path, path / "unused", config=OPTIONS), registry)

    assert match.layout.name == "umc"
    assert "'module.'" in "\n".join(match.evidence)
