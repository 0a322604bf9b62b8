"""Layouts' assumptions: stated alike, stated otherwise, contradicted, settled by option."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import convcore
from convcore.host import load_registry
from convcore.match import match_layout
from convcore.model import LayoutMatch
from convcore.read import read_checkpoint
from tests.conftest import ROOT
from tests.plugins import cyclegan_checkpoints as cyclegan

Save = Callable[..., Path]


def read(path: Path, **config: str) -> LayoutMatch:
    registry = load_registry()
    return match_layout(read_checkpoint(path, registry, config=config), registry, config=config)


def exported(path: Path, graph: str, **config: str) -> torch.nn.Module:
    """The network that a graph is exported from."""
    (found,) = (each for each in read(path, **config).graphs() if each.name == graph)
    assert found.refusal is None, found.refusal
    return found.network()


def kinds(module: torch.nn.Module) -> set[str]:
    return {type(each).__name__ for each in module.modules() if not list(each.children())}


def refused(path: Path, *options: str) -> str:
    """Return what ``convert --to onnx`` says, after showing that weights still convert."""
    config = dict(option.split("=") for option in options)
    with pytest.raises(convcore.LayoutError) as caught:
        convcore.convert(path, path.parent / "graphs", "onnx", config=config)
    report = convcore.convert(path, path.parent / "weights", "pth", config=config)
    told = report.plan.match.evidence
    assert any("ONNX needs --config" in line for line in told), told
    return f"{caught.value.what} {caught.value.remedy}"


class TestCycleGAN:
    @pytest.fixture
    def save(self, tmp_path: Path) -> Save:
        def save(**generator: Any) -> Path:
            stored = {"generator_config": {"hidden_dims": [8, 12, 10], **generator}}
            return cyclegan.save(tmp_path, cyclegan.current(), stored)

        return save

    def test_what_is_assumed_has_an_origin_and_a_line(self, save: Save) -> None:
        match = read(save())

        assert match.settings["activation"] == convcore.Setting("leaky_relu", "default")
        assert any("activation=leaky_relu, negative_slope=0.2" in line for line in match.evidence)

    def test_an_equal_value_is_evidence(self, save: Save) -> None:
        match = read(save(activation="LeakyReLU", negative_slope=0.2, norm="batch_norm"))

        assert match.settings["activation"].origin == "hyper_parameters"
        assert any("state what is assumed: activation" in line for line in match.evidence)

    def test_another_activation_that_is_computed_is_used(self, save: Save) -> None:
        path = save(activation="relu", bn_eps=1e-3, final_activation="sigmoid")

        network = exported(path, "generator_AB")

        assert kinds(network) == {"Linear", "BatchNorm1d", "ReLU", "Dropout", "Sigmoid"}
        assert {m.eps for m in network.modules() if isinstance(m, torch.nn.BatchNorm1d)} == {1e-3}

    def test_the_discriminators_have_theirs(self, save: Save) -> None:
        path = save(activation="relu")

        judge = exported(path, "discriminator_A", discriminator_negative_slope="0.01")

        assert {m.negative_slope for m in judge.modules() if hasattr(m, "negative_slope")} == {0.01}

    @pytest.mark.parametrize(
        ("stated", "option"),
        [({"activation": "mish"}, "activation"), ({"norm": "instance"}, "norm"),
         ({"negative_slope": 3}, "negative_slope"), ({"eps": "large"}, "norm_eps")],
        ids=lambda value: str(value),
    )  # fmt: skip
    def test_a_value_that_is_not_computed_refuses_graphs_and_no_weights(
        self, save: Save, stated: dict[str, Any], option: str
    ) -> None:
        assert f"--config {option}=" in refused(save(**stated))

    def test_the_option_settles_it(self, save: Save) -> None:
        match = read(save(norm="instance"), norm="batch")

        assert match.settings["norm"] == convcore.Setting("batch", "option")
        assert not [graph.refusal for graph in match.graphs() if graph.refusal]

    def test_exported_networks_tell_on_what_their_checkpoint_said(
        self, save: Save, tmp_path: Path
    ) -> None:
        out = convcore.convert(save(activation="mish", negative_slope=0.1), tmp_path / "out").output

        again = read(out)

        assert again.settings["activation"].origin == "unknown"
        assert again.value("negative_slope") == 0.1
        with pytest.raises(convcore.UsageError, match="describes a network that is not computed"):
            converter(out).convert_A_to_B(torch.zeros(6).numpy())

    def test_a_normalisation_one_folder_up_is_told_and_a_guess(
        self, save: Save, tmp_path: Path
    ) -> None:
        path = save()
        inner = tmp_path / "val" / path.name
        inner.parent.mkdir()
        path.rename(inner)
        text = (ROOT / "examples/cyclegan/normalization_params.json").read_text()
        numbers = {name: values[:6] for name, values in json.loads(text).items()}
        (tmp_path / "normalization_params.json").write_text(json.dumps(numbers))

        match = read(inner)

        assert match.settings["normalization"].origin == "guess"
        assert any("was found one folder up" in line for line in match.evidence)


def converter(folder: Path) -> Any:
    from convcore_cyclegan import FeatureConverter

    return FeatureConverter(folder, backend="torch")
