"""UMC: what is near the layout and wrong, down to one tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import LayoutError, TargetError
from convcore.host.registry import Registry, load_registry
from tests.plugins.umc_golden import (
    NAME,
    OPTIONS,
    TEXT,
    golden_state,
    origins,
    recognised,
    save,
)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


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
    key: str, registry: Registry, tmp_path: Path
) -> None:
    shape = tuple(golden_state()[key].shape)
    path = save(tmp_path, lambda state: state.pop(key))

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
    key: str, registry: Registry, tmp_path: Path
) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        state[key] = torch.zeros(5, 3)

    with pytest.raises(LayoutError) as caught:
        origins(save(tmp_path, edit), registry)

    assert [line for line in caught.value.seen if "(5, 3)" in line]
    assert len(caught.value.seen) == 1


@pytest.mark.parametrize("component", ["mlp_head", "shared_embedding_layer", "fusion"])
def test_a_file_without_one_component_is_told_that_umc_is_nearest_and_what_it_lacks(
    component: str, registry: Registry, tmp_path: Path
) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        for key in [key for key in state if component in key]:
            del state[key]

    with pytest.raises(LayoutError) as caught:
        recognised(save(tmp_path, edit), registry)

    nearest = [line for line in caught.value.seen if line.startswith("nearest layout")]
    share = "82 of its 84 keys are there"
    assert nearest[0] == f"nearest layout umc: {share}; no tensor of {component}"


def test_a_missing_layer_in_the_middle_is_missed(registry: Registry, tmp_path: Path) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        for key in [key for key in state if ".encoder.layer.0." in key]:
            del state[key]

    with pytest.raises(LayoutError) as caught:
        origins(save(tmp_path, edit), registry)

    assert len(caught.value.seen) == 16


@pytest.mark.parametrize("number", [2, 3, 999, 999999999])
def test_a_stray_key_with_a_layer_number_of_its_own_is_one_key_too_many(
    number: int, registry: Registry, tmp_path: Path
) -> None:
    stray = f"{TEXT}encoder.layer.{number}.output.dense.bias"

    path = save(tmp_path, lambda state: state.update({stray: torch.ones(1)}))

    assert recognised(path, registry).extra == (stray,)


def test_one_key_more_travels_with_the_weights_and_is_refused_by_onnx(
    registry: Registry, tmp_path: Path
) -> None:
    extra = "method_model.backbone.v_encoder.extra"
    path = save(tmp_path, lambda state: state.update({extra: torch.ones(2)}), NAME)
    config = {**OPTIONS, "bert_heads": "4"}

    convert(Request(path, tmp_path / "pth", config=config), registry)
    with pytest.raises(TargetError, match="extra"):
        convert(Request(path, tmp_path / "onnx", ("onnx",), config=config), registry)

    written = torch.load(tmp_path / "pth/video_encoder.pth", weights_only=True)
    assert torch.equal(written["v_encoder.extra"], torch.ones(2))


def test_a_wrappers_prefix_is_removed_and_mentioned(registry: Registry, tmp_path: Path) -> None:
    def wrap(state: dict[str, torch.Tensor]) -> None:
        for key in list(state):
            state[f"module.{key}"] = state.pop(key)

    path = save(tmp_path, wrap, NAME)

    match = recognised(path, registry, **OPTIONS)

    assert match.layout.name == "umc"
    assert "'module.'" in "\n".join(match.evidence)
