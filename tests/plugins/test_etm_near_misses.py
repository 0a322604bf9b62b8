"""ETM: what is near the layout and wrong, and other sizes that are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import LayoutError, TargetError
from convcore.host.registry import Registry, load_registry
from convcore.targets.networks import build
from convcore_etm.nets import Full
from tests.conftest import call
from tests.plugins.etm_golden import (
    Tree,
    evidence,
    flat_state,
    recognised,
    save_flat,
    save_separate,
)

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.mark.parametrize(
    "key",
    [
        "alpha", "lambda_text", "color_encoder.0.weight", "color_encoder.1.running_var",
        "color_logvar.bias", "text_encoder.5.weight", "text_mean.weight",
        "score_predictor.3.bias",
    ],
)  # fmt: skip
def test_one_missing_tensor_is_named_with_its_shape(
    key: str, registry: Registry, tmp_path: Path
) -> None:
    shape = ", ".join(map(str, flat_state()[key].shape))
    path = save_flat(tmp_path / "best_model.pth", lambda state: state.pop(key))

    with pytest.raises(LayoutError, match="1 tensor missing") as caught:
        recognised(path, registry)

    assert [line.split("; ")[0] for line in caught.value.seen] == [f"missing: {key} ({shape})"]


@pytest.mark.parametrize(
    "key", ["alpha", "rho_text", "color_mean.weight", "score_predictor.0.weight", "lambda_color"]
)
def test_one_tensor_of_another_shape_is_named_and_does_not_change_the_others(
    key: str, registry: Registry, tmp_path: Path
) -> None:
    def edit(state: State) -> None:
        state[key] = torch.zeros(5, 3)

    with pytest.raises(LayoutError) as caught:
        recognised(save_flat(tmp_path / "best_model.pth", edit), registry)

    assert len(caught.value.seen) == 1
    assert f"wrong shape: {key} is (5, 3)" in caught.value.seen[0]


def drop_side(state: State) -> None:
    for key in [key for key in state if key.startswith("text_")]:
        del state[key]


def drop_key(state: State) -> None:
    del state["rho_color"]


def reshape(state: State) -> None:
    state["rho_color"] = state["rho_color"].t().contiguous()


@pytest.mark.parametrize("edit", [drop_key, reshape, drop_side])
def test_a_near_miss_exits_4_and_writes_nothing(
    edit: Callable[[State], None], tmp_path: Path
) -> None:
    path = save_flat(tmp_path / "best_model.pth", edit)

    ran = call("convert", path, "-o", tmp_path / "out", "--json")

    assert ran.code == ran.json["error"]["exit_code"] == 4
    assert not (tmp_path / "out").exists()


def test_one_key_missing_in_a_separate_file_exits_4(tmp_path: Path) -> None:
    def edit(part: str, tree: Tree) -> None:
        if part == "text_encoder":
            del tree["text_mean"]["bias"]

    ran = call("convert", save_separate(tmp_path / "in", edit=edit), "-o", tmp_path / "out")

    assert ran.code == 4
    assert "text_mean.bias" in ran.err


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrapper_prefixes_are_removed_and_said_so(
    prefix: str, registry: Registry, tmp_path: Path
) -> None:
    golden = flat_state()
    torch.save({f"{prefix}{key}": value for key, value in golden.items()}, tmp_path / "m.pth")

    match = recognised(tmp_path / "m.pth", registry)

    assert list(match.checkpoint.tensors) == list(golden)
    assert match.checkpoint.source == "etm-folder"
    assert f"removed the prefix {prefix!r}" in evidence(match)


def test_a_prefix_on_some_keys_only_is_no_wrapper(registry: Registry, tmp_path: Path) -> None:
    def edit(state: State) -> None:
        state["module.alpha"] = state.pop("alpha")

    with pytest.raises(LayoutError, match="alpha"):
        recognised(save_flat(tmp_path / "best_model.pth", edit), registry)


def test_an_extra_key_inside_a_part_travels_with_it_and_stops_its_graph(
    registry: Registry, tmp_path: Path
) -> None:
    def edit(part: str, tree: Tree) -> None:
        if part == "text_encoder":
            tree["text_encoder"]["8.weight"] = torch.full((3,), 7.0)

    folder = save_separate(tmp_path / "models", edit=edit)

    convert(Request(folder, tmp_path / "out", ("pth",)), registry)

    written = torch.load(tmp_path / "out/best_text_encoder.pth", weights_only=True)
    assert written["text_encoder"]["8.weight"].tolist() == [7, 7, 7]
    with pytest.raises(TargetError, match=r"text_encoder\.8\.weight"):
        convert(Request(folder, tmp_path / "onnx", ("onnx",)), registry)


def test_an_extra_key_of_no_part_is_kept_as_the_remainder(
    registry: Registry, tmp_path: Path
) -> None:
    path = save_flat(
        tmp_path / "best_model.pth", lambda s: s.update({"extra.scale": torch.ones(2)})
    )

    convert(Request(path, tmp_path / "out", ("pth", "state-dict")), registry)

    written = torch.load(tmp_path / "out/remainder.pth", weights_only=True)
    merged = torch.load(tmp_path / "out/best_model.pth", weights_only=True)
    assert [value.tolist() for value in written.values()] == [[1, 1]]
    assert list(merged) == [*flat_state(), "extra.scale"]


SIZES = {
    "odd-hidden": (3, 15, 7, 2, 9),
    "one-topic": (1, 15, 2, 1, 4),
    "script-defaults": (50, 15, 2000, 32, 128),
    "wide": (6, 30, 11, 40, 33),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("one_sided", ["gaussian", "zero"])
def test_other_sizes_are_read_from_the_tensors(
    sizes: tuple[int, ...], one_sided: str, registry: Registry, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = Full(*sizes).eval()
    state = {key.split(".", 1)[1]: value for key, value in model.state_dict().items()}
    torch.save(state, tmp_path / "final_model.pth")

    match = recognised(tmp_path, registry, one_sided=one_sided)

    names = ("num_topics", "color_dim", "text_dim", "embedding_dim", "hidden_dim")
    assert tuple(match.value(name) for name in names) == sizes
    color, text = torch.rand(2, sizes[1]), torch.rand(2, sizes[2])
    for graph in match.layout.graphs(match):
        given = {"color": color, "text": text, "theta": torch.rand(2, sizes[0])}
        answer = build(graph, match)(*(given[axis.name] for axis in graph.inputs))
        assert [tuple(value.shape)[1:] for value in answer] == [
            axis.shape[1:] for axis in graph.outputs
        ]


@pytest.mark.parametrize("word", ["vague", ""])
def test_another_convention_than_the_two_is_a_usage_error(word: str, tmp_path: Path) -> None:
    path = save_flat(tmp_path / "best_model.pth")

    ran = call("convert", path, "-o", tmp_path / "out", "--config", f"one_sided={word}")

    assert ran.code == 2
    assert "gaussian, zero" in ran.err
