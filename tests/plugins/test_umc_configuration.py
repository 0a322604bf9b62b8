"""UMC: what the tensors do not say, and where it comes from instead."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import LayoutError, TargetError, UsageError
from convcore.host.registry import Registry, load_registry
from tests.plugins.umc_golden import (
    BERT,
    FILE,
    NAME,
    OPTIONS,
    RUN,
    TEXT,
    evidence,
    golden_state,
    origins,
    save,
)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


UNKNOWN = ["bert_heads", "nheads", "attn_mask", "text_length", "video_length", "audio_length"]


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
    assert near["nheads"] == (None, "unknown")  # a width of 32 is not the published one
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
    tmp_path: Path,
) -> None:
    path = save(tmp_path, run=f"umc_umc_{dataset}_bert-base-uncased_3")

    settings = origins(path, registry)

    found = tuple(settings[f"{name}_length"][0] for name in ("text", "video", "audio"))
    assert found == lengths  # this BERT's 40 positions are too few for two of them
    assert settings["nheads"] == (None, "unknown")
    assert settings["bert_heads"] == (None, "unknown")
    assert "base_dim 32 instead of 256" in evidence(path, registry)


def test_the_published_width_brings_the_published_heads(registry: Registry, tmp_path: Path) -> None:
    def widen(state: dict[str, torch.Tensor]) -> None:
        for key, value in state.items():
            if TEXT not in key:
                sizes = [256 * (n // 32) if n % 32 == 0 else n for n in value.shape]
                state[key] = torch.zeros(sizes)

    path = save(tmp_path, widen, NAME)

    settings = origins(path, registry)

    assert settings["base_dim"] == (256, "shape")
    assert settings["nheads"] == (8, "dataset")


def test_whatever_is_unknown_stops_onnx_and_every_option_is_named_at_once(
    registry: Registry, tmp_path: Path
) -> None:
    path = save(tmp_path)

    with pytest.raises(LayoutError) as caught:
        convert(Request(path, tmp_path / "out", ("onnx",)), registry)

    assert all(f"--config {name}=" in caught.value.remedy for name in UNKNOWN)
    assert "bert_config" in str(caught.value.seen)
    assert not (tmp_path / "out").exists()
    assert {name: origins(path, registry)[name] for name in UNKNOWN} == dict.fromkeys(
        UNKNOWN, (None, "unknown")
    )


def test_only_what_a_chosen_component_needs_is_asked_for(
    registry: Registry, tmp_path: Path
) -> None:
    config = {"nheads": "4", "attn_mask": "TRUE"}
    request = Request(
        save(tmp_path),
        tmp_path / "out",
        ("onnx",),
        components=("video_encoder",),
        config=config,
    )

    with pytest.raises(LayoutError) as caught:
        convert(request, registry)

    assert "video_length" in caught.value.what
    assert not any(name in str(caught.value.as_dict()) for name in ("text_length", "bert_heads"))


def test_weights_are_split_without_knowing_any_of_it(registry: Registry, tmp_path: Path) -> None:
    report = convert(Request(save(tmp_path), tmp_path / "out", ("pth", "safetensors")), registry)

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
    "beside-the-project": "tiny-bert",
}


@pytest.mark.parametrize("place", NEAR.values(), ids=NEAR.keys())
def test_a_bert_folder_near_the_run_settles_its_heads(
    place: str, registry: Registry, tmp_path: Path
) -> None:
    path = save(tmp_path, run=NAME)
    (tmp_path / place).mkdir(exist_ok=True)
    shutil.copy(BERT, tmp_path / place / "config.json")

    settings = origins(path, registry)

    assert settings["bert_heads"] == (4, "file")
    assert settings["bert_config"] == (f"{Path(place).name}/config.json", "file")


@pytest.mark.parametrize(("above", "found"), [(5, 4), (6, None)], ids=["five", "six"])
def test_a_bert_folder_is_looked_for_up_to_five_folders_above(
    above: int, found: int | None, registry: Registry, tmp_path: Path
) -> None:
    models = tmp_path / "/".join(f"level{n}" for n in range(above - 2)) / NAME / "models"
    models.mkdir(parents=True)
    shutil.copy(FILE, models)
    (tmp_path / "uncased_L-12_H-768_A-12").mkdir()
    shutil.copy(BERT, tmp_path / "uncased_L-12_H-768_A-12")

    settings = origins(models, registry)

    assert settings["bert_heads"][0] == found


def test_another_projects_folder_with_a_config_is_not_taken_for_berts(
    registry: Registry, tmp_path: Path
) -> None:
    path = save(tmp_path)
    (tmp_path / "project/elsewhere").mkdir()
    shutil.copy(BERT, tmp_path / "project/elsewhere")

    settings = origins(path, registry)

    assert settings["bert_heads"] == (None, "unknown")


def test_two_bert_folders_that_differ_only_in_heads_settle_nothing(
    registry: Registry, tmp_path: Path
) -> None:
    path = save(tmp_path, run=NAME)
    for heads in (4, 8):
        folder = tmp_path / f"project/bert-{heads}"
        folder.mkdir()
        config = {**json.loads(BERT.read_text()), "num_attention_heads": heads}
        (folder / "config.json").write_text(json.dumps(config))

    settings = origins(path, registry)

    assert settings["bert_heads"] == (None, "unknown")
    assert "bert-4/config.json (4 heads), bert-8/config.json (8 heads)" in evidence(path, registry)


def test_a_config_in_the_run_folder_is_told_of_once(registry: Registry, tmp_path: Path) -> None:
    path = save(tmp_path, run=NAME)
    config = {**json.loads(BERT.read_text()), "num_attention_heads": 8}
    (path.parent.parent / "config.json").write_text(json.dumps(config))
    (path.parent.parent / "vocab.txt").write_text("")
    (tmp_path / "project/bert").mkdir()
    shutil.copy(BERT, tmp_path / "project/bert")

    said = evidence(path, registry)

    assert f"{NAME}/config.json (8 heads), bert/config.json (4 heads) all fit and differ" in said
    assert said.count(f"{NAME}/config.json") == 1


@pytest.mark.parametrize(
    "content", ['{"model_type": "bert"', "[1]", '{"model_type": "t5"}'], ids=["cut", "list", "t5"]
)
def test_a_config_nearby_that_is_none_of_berts_disturbs_nobody(
    content: str, registry: Registry, tmp_path: Path
) -> None:
    path = save(tmp_path, run=NAME)
    (tmp_path / "project/bert").mkdir()
    (tmp_path / "project/bert/config.json").write_text(content)

    settings = origins(path, registry)

    assert settings["bert_heads"] == (None, "unknown")


def test_a_model_of_the_published_sizes_needs_no_option_at_all(
    registry: Registry, tmp_path: Path
) -> None:
    sizes = {77: 30522, 40: 512, 48: 768, 64: 3072, 32: 256, 96: 768, 128: 1024, 20: 1024, 24: 768}
    state = {}
    for key, value in golden_state().items():
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
    assert settings["bert_heads"] == (12, "guess")
    assert settings["text_length"] == (70, "dataset")
    assert not [name for name, (_, origin) in settings.items() if origin == "unknown"]


def test_bert_needs_transformers_and_says_so_before_anything_is_written(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # Python's way to say: not installed

    with pytest.raises(TargetError, match="transformers"):
        convert(Request(RUN, tmp_path / "out", ("onnx",), config=OPTIONS), registry)

    assert not (tmp_path / "out").exists()
