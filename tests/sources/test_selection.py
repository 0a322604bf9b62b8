"""Which tensors of a file are the model, under which names: torch.load judges what was written."""

from __future__ import annotations

import argparse
import io
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import convcore
from convcore.engine.audit.verify import verify
from convcore.errors import SourceError, UsageError
from convcore.host.registry import load_registry
from tests.sources.nets import below, momentum, net, same, written

UP, DOWN = net(5, 7, norm=True), net(7, 3, 2)
FLOW, CELL = {"weight": torch.rand(3, 2), "bias": torch.rand(3)}, {"weight": torch.rand(2)}

SEVERAL: dict[str, tuple[Any, dict[str, Any]]] = {
    "side by side": ({"upper": UP, "lower": DOWN, "epoch": 3}, {"upper": UP, "lower": DOWN}),
    "in wrappers": ({"params": {"model": {"A": UP, "B": DOWN}}}, {"A": UP, "B": DOWN}),
    "with suffixes": (
        {"upper_state_dict": UP, "lower_model": DOWN, "lower_optimizer": momentum(DOWN)},
        {"upper": UP, "lower": DOWN},
    ),
    "a wrapper's name is all there is": (
        {"model": UP, "judge": DOWN},
        {"model": UP, "judge": DOWN},
    ),
    "a list": ({"weights": [UP, DOWN]}, {"0": UP, "1": DOWN}),
    "numbers as keys": ({4: UP, 7: DOWN}, {"4": UP, "7": DOWN}),
    "nested": (
        {"learner": {"pi": UP, "q": DOWN}, "step": 4},
        {"learner.pi": UP, "learner.q": DOWN},
    ),
    "wrapped one by one": (
        {"upper": below("_orig_mod.", UP), "lower": below("module._fsdp_wrapped_module.", DOWN)},
        {"upper": UP, "lower": DOWN},
    ),
    "twins and their targets": (
        {"q1": DOWN, "q2": net(7, 3, 2, seed=1), "q1_target": net(7, 3, 2, seed=2)},
        {"q1": DOWN, "q2": net(7, 3, 2, seed=1), "q1_target": net(7, 3, 2, seed=2)},
    ),
    "names that begin like training's": (
        {"optical_head": UP, "cfg_encoder": DOWN, "loops_conv": net(2, 9)},
        {"optical_head": UP, "cfg_encoder": DOWN, "loops_conv": net(2, 9)},
    ),
    "a scheduler that is a network": (
        {"scheduler_net": UP, "args_embedding": DOWN},
        {"scheduler_net": UP, "args_embedding": DOWN},
    ),
}


def save(tree: object, folder: Path) -> Path:
    torch.save(tree, folder / "m.pt")
    return folder / "m.pt"


@pytest.mark.parametrize(("tree", "expected"), SEVERAL.values(), ids=SEVERAL)
def test_every_network_is_a_component_under_its_own_place(
    tree: object, expected: dict[str, Any], tmp_path: Path
) -> None:
    report = convcore.convert(save(tree, tmp_path), tmp_path / "out")

    found = written(tmp_path / "out")
    assert found.keys() == expected.keys()
    assert all(same(found[name], expected[name]) for name in expected)
    assert report.manifest.layout is None
    assert "no layout known; split as the file names its networks" in report.manifest.evidence


ONE: dict[str, tuple[Any, dict[str, Any]]] = {
    "layer by layer": (
        {"model": {"conv1": FLOW, "norm": CELL}, "epoch": 1},
        {**below("conv1.", FLOW), **below("norm.", CELL)},
    ),
    "layers in a numbered mapping": (
        {"model": {"blocks": {0: FLOW, 1: CELL}}, "epoch": 1},
        {**below("blocks.0.", FLOW), **below("blocks.1.", CELL)},
    ),
    "names nobody knows": ({"alpha": FLOW["weight"], "rho": FLOW["bias"]}, None),
    "numbers and text beside": ({"topics": torch.ones(4), "beta": torch.ones(2), "count": 4}, {}),
    "compiled and checkpointed inside": (
        {"model": {"_fsdp_wrapped_module.a._checkpoint_wrapped_module.weight": FLOW["weight"]}},
        {"a.weight": FLOW["weight"]},
    ),
    "a module among other entries": (
        {"net": nn.Linear(2, 3), "labels": ["a"], "loss": torch.tensor(1.0)},
        {},
    ),
}


@pytest.mark.parametrize(("tree", "expected"), ONE.values(), ids=ONE)
def test_one_network_keeps_its_names(
    tree: dict[str, Any], expected: dict[str, Any] | None, tmp_path: Path
) -> None:
    convcore.convert(save(tree, tmp_path), tmp_path / "out")

    if not expected:
        inner = tree["net"].state_dict() if "net" in tree else tree
        expected = {k: v for k, v in inner.items() if isinstance(v, torch.Tensor)}
    (found,) = written(tmp_path / "out").values()
    assert same(found, expected)


def test_statistics_beside_networks_are_a_component_and_figures_are_dropped(tmp_path: Path) -> None:
    tree = {
        "model": UP,
        "scaler": {"mean": torch.rand(3), "std": torch.rand(3)},
        "log_alpha": torch.tensor(0.2),
        "val_loss": torch.tensor(0.5),
        "best_acc5": torch.tensor(71.5),
        "opt": argparse.Namespace(mean=torch.ones(2)),
    }

    report = convcore.convert(save(tree, tmp_path), tmp_path / "out")

    found = written(tmp_path / "out")
    assert same(found["model"], UP)
    scaler = tree["scaler"]
    assert set(found["statistics"]) == {"scaler.mean", "scaler.std", "log_alpha"}
    assert torch.equal(found["statistics"]["scaler.std"], scaler["std"])
    why = {r.tensor: r.reason for r in report.manifest.ledger if r.state == "dropped"}
    assert why == {
        "val_loss": "a figure of training",
        "best_acc5": "a figure of training",
        "opt.mean": "hyper-parameter, not part of the model",
    }
    assert all(check.passed for check in verify(tmp_path / "out", load_registry()))


def test_statistics_inside_what_wraps_the_network_are_none_of_its_tensors(tmp_path: Path) -> None:
    mean = torch.rand(3)
    path = save({"model": {"state_dict": UP, "mean": mean}, "epoch": 1}, tmp_path)

    convcore.convert(path, tmp_path / "out")

    found = written(tmp_path / "out")
    assert same(found["model"], UP)
    assert same(found["statistics"], {"mean": mean})


NOTHING: dict[str, tuple[Any, str]] = {
    "an optimizer": (momentum(UP), "an optimizer state"),
    "an optimizer and a loss": (
        {"optim_G": momentum(UP), "loss": torch.tensor(1.0), "epoch": 2},
        "an optimizer state, figures of training",
    ),
    "generators": ({"torch": torch.get_rng_state(), "cuda": []}, "random number states"),
    "arguments": ({"init_args": {"table": torch.rand(4)}, "class": "Net"}, "hyper-parameters"),
    "a replay buffer": ({"replay_buffer": {"obs": torch.rand(9, 2)}}, "replay buffer"),
}


@pytest.mark.parametrize(("tree", "words"), NOTHING.values(), ids=NOTHING)
def test_a_file_without_a_network_says_what_it_holds(
    tree: object, words: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        convcore.convert(save(tree, tmp_path), tmp_path / "out")

    assert caught.value.exit_code == 3
    assert "--key" not in caught.value.remedy
    assert not (tmp_path / "out").exists()


def kept_in(module: str, name: str, **attributes: Any) -> Any:
    """An object of a class that exists only while it is saved."""
    sys.modules.setdefault(module, types.ModuleType(module))
    kind = type(name, (), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, kind)
    made = kind()
    made.__dict__.update(attributes)
    return made


@pytest.fixture(autouse=True)
def forgotten_classes() -> Iterator[None]:
    yield
    sys.modules.pop("somelab_runner", None)


def test_the_one_module_of_an_object_is_taken_and_told(tmp_path: Path) -> None:
    module = nn.Linear(3, 2)
    runner = kept_in("somelab_runner", "Runner", net=module, curve=torch.rand(4))

    path = save({"runner": runner, "epoch": 1}, tmp_path)
    report = convcore.convert(path, tmp_path / "out")
    by_key = convcore.open_checkpoint(path, key="runner.net")

    assert same(written(tmp_path / "out")["model"], module.state_dict())
    told = " ".join(report.manifest.evidence)
    assert "lies at runner.net, in a somelab_runner.Runner" in told
    assert list(by_key.tensors) == ["weight", "bias"]
    rows = {row.tensor: row.reason for row in report.manifest.ledger}
    assert rows["runner.curve"] == "attribute of a somelab_runner.Runner"


def test_of_several_modules_in_objects_none_is_guessed(tmp_path: Path) -> None:
    runner = kept_in("somelab_runner", "Runner", pi=nn.Linear(3, 2), q=nn.Linear(3, 1))

    path = save(runner, tmp_path)
    with pytest.raises(SourceError, match="2 networks inside objects: pi, q") as caught:
        convcore.convert(path, tmp_path / "out")
    convcore.convert(path, tmp_path / "out", key="q")

    assert caught.value.remedy.endswith("--key pi")
    assert written(tmp_path / "out")["model"]["weight"].shape == (1, 3)


def test_a_module_s_tensors_that_its_state_dict_lacks_have_rows(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    module[0].scale = torch.rand(2)
    module[1].register_buffer("mask", torch.ones(1), persistent=False)

    report = convcore.convert(save(module, tmp_path), tmp_path / "out")

    assert same(written(tmp_path / "out")["model"], module.state_dict())
    why = {r.tensor: r.reason for r in report.manifest.ledger if r.state == "dropped"}
    linear = "plain attribute of torch.nn.modules.linear.Linear"
    assert why == {"0.scale": linear, "1.mask": linear}


def test_tensors_that_are_attributes_of_tensors_have_rows(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.rand(2, 3))
    weight.scale = torch.rand(2)

    path = save({"fc.weight": weight, "fc.bias": torch.rand(2)}, tmp_path)
    report = convcore.convert(path, tmp_path / "out")

    why = {r.tensor: r.reason for r in report.manifest.ledger if r.state == "dropped"}
    assert why == {"fc.weight.scale": "attached to a tensor"}


def test_entries_of_a_state_dict_that_are_no_tensors_have_rows(tmp_path: Path) -> None:
    tree = {**UP, "temperature": 0.07, "0._extra_state": io.BytesIO(b"scales"), "version": "2"}

    report = convcore.convert(save(tree, tmp_path), tmp_path / "out")

    why = {r.tensor: r.reason for r in report.manifest.ledger if r.state == "dropped"}
    assert why == {
        "temperature": "a float, not a tensor",
        "0._extra_state": "a _io.BytesIO, not a tensor",
        "version": "a str, not a tensor",
    }


@pytest.mark.parametrize("beside", [{}, {"1.weight": UP["0.weight"]}], ids=["alone", "in part"])
def test_a_quantised_state_dict_is_refused_by_name(
    beside: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    state = {
        **beside,
        "0.scale": torch.tensor(1.0),
        "0._packed_params._packed_params": (UP["0.weight"], None),
    }

    with pytest.raises(SourceError, match=r"quantised by torch\.ao"):
        convcore.convert(save(state, tmp_path), tmp_path / "out")


@pytest.mark.parametrize("elements", [0, 1])
def test_placeholders_of_deepspeed_are_refused(elements: int, tmp_path: Path) -> None:
    tree = {
        "module": {name: torch.empty(elements) for name in UP},
        "param_shapes": [{name: torch.Size((9, 9)) for name in UP}],
        "ds_version": "0.15",
    }

    with pytest.raises(SourceError, match="DeepSpeed model-state shard") as caught:
        convcore.convert(save(tree, tmp_path), tmp_path / "out")

    assert "--key" not in caught.value.remedy


def test_more_in_objects_than_in_networks_is_not_left_out_silently(tmp_path: Path) -> None:
    big = kept_in("somelab_runner", "Runner", net=nn.Linear(90, 90))
    path = save({"head": net(3, 2), "backbone": big}, tmp_path)

    with pytest.raises(SourceError, match="more in objects") as caught:
        convcore.convert(path, tmp_path / "out")
    convcore.convert(path, tmp_path / "out", key="head")

    assert "--key head" in caught.value.remedy
    assert "--key backbone.net" in caught.value.remedy


def test_a_network_of_several_is_split_no_further(tmp_path: Path) -> None:
    path = save({"upper": UP, "lower": DOWN}, tmp_path)

    with pytest.raises(UsageError, match="holds 2 networks already"):
        convcore.convert(path, tmp_path / "out", split=True)


def test_one_network_is_split_by_first_level_prefixes(tmp_path: Path) -> None:
    path = save({**below("enc.body.", UP), **below("dec.", DOWN), "gain": torch.ones(1)}, tmp_path)

    convcore.convert(path, tmp_path / "out", split=True)

    found = written(tmp_path / "out")
    assert same(found["enc"], below("body.", UP))
    assert same(found["dec"], DOWN)
    assert list(found["loose"]) == ["gain"]


def test_named_parts_are_written_and_nothing_else(tmp_path: Path) -> None:
    path = save({**below("enc.", UP), **below("dec.", DOWN)}, tmp_path)

    report = convcore.convert(path, tmp_path / "out", components={"left": "enc"})
    convcore.convert(path, tmp_path / "all", components={"left": "enc"}, remainder=True)

    assert list(written(tmp_path / "out")) == ["left"]
    assert same(written(tmp_path / "all")["remainder"], DOWN)
    dropped = {r.tensor for r in report.manifest.ledger if r.state == "dropped"}
    assert dropped == {f"dec.{name}" for name in DOWN}
