"""Layouts' assumptions: stated alike, stated otherwise, contradicted, settled by option."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import convcore
from convcore.errors import UsageError
from convcore.host.registry import load_registry
from convcore.layouts.layout import LayoutMatch
from convcore.layouts.matching import match_layout
from convcore.sources.reading import read_checkpoint
from convcore_cyclegan.assumptions import refuse_idle_slope
from tests.conftest import ROOT, call
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

    def test_inspect_shows_where_a_value_comes_from(self, save: Save) -> None:
        shown = call("inspect", save(activation="relu"), "--json").json

        assert shown["settings"]["activation"] == {"value": "relu", "origin": "hyper_parameters"}
        assert shown["settings"]["norm_eps"] == {"value": 1e-05, "origin": "default"}
        assert any("activation is that, and not the usual" in line for line in shown["evidence"])


class TestETM:
    @pytest.fixture
    def save(self, tmp_path: Path) -> Save:
        def save(**stated: Any) -> Path:
            folder = tmp_path / "models"
            shutil.copytree(ROOT / "examples/etm/models", folder)
            architecture = folder / "model_architecture.json"
            known = json.loads(architecture.read_text())
            architecture.write_text(json.dumps({**known, **stated}))
            return folder

        return save

    def test_what_is_assumed_has_an_origin_and_a_line(self, save: Save) -> None:
        match = read(save())

        assert match.settings["one_sided"] == convcore.Setting("gaussian", "default")
        assert match.settings["score_scale"] == convcore.Setting(None, "unknown")
        assert any("one_sided=gaussian, missing_logvar=10.0" in line for line in match.evidence)
        assert any("whose ends no file keeps" in line for line in match.evidence)

    def test_other_values_that_are_computed_are_used(self, save: Save) -> None:
        path = save(one_sided="zero", activation="tanh", bn_eps=1e-3, poe_eps=1e-8)

        network: Any = exported(path, "text_to_color")

        assert network.color_encoder is not None
        assert "Tanh" in kinds(network)
        assert "ReLU" not in kinds(network)
        assert network.kind.fuse_eps == 1e-8
        assert network.text_encoder.text_encoder[1].eps == 1e-3

    def test_another_log_variance_stands_for_the_missing_side(self, save: Save) -> None:
        path = save()

        usual = exported(path, "text_to_color").state_dict()
        network: Any = exported(path, "text_to_color", missing_logvar="2.302585")

        assert network.kind.missing_logvar == 2.302585
        assert usual.keys() == network.state_dict().keys()

    @pytest.mark.parametrize(
        ("stated", "option"),
        [({"one_sided": "text mean alone"}, "one_sided"), ({"norm": "layer"}, "norm"),
         ({"activation": "mish"}, "activation"), ({"eps": 1}, "fuse_eps")],
        ids=lambda value: str(value),
    )  # fmt: skip
    def test_a_value_that_is_not_computed_refuses_graphs_and_no_weights(
        self, save: Save, stated: dict[str, Any], option: str
    ) -> None:
        assert f"--config {option}=" in refused(save(**stated))

    def test_what_concerns_one_side_leaves_the_other_graphs(self, save: Save) -> None:
        graphs = {graph.name: graph.missing for graph in read(save(one_sided="mean")).graphs()}

        assert graphs.pop("text_to_color") == graphs.pop("color_to_text") == ("one_sided",)
        assert set(graphs.values()) == {()}

    def test_an_output_tells_on_what_its_checkpoint_said(self, save: Save, tmp_path: Path) -> None:
        out = convcore.convert(save(activation="mish", bn_eps=1e-3), tmp_path / "out").output

        again = read(out)

        assert again.settings["activation"].origin == "unknown"
        assert again.value("norm_eps") == 1e-3


class TestAutoEncoder:
    @pytest.fixture
    def save(self, tmp_path: Path) -> Save:
        def save(**stated: Any) -> Path:
            tree = torch.load(ROOT / "examples/autoencoder/checkpoint_epoch_5.pth")
            for name in ("optimizer_state_dict", "scheduler_state_dict"):
                tree.pop(name, None)
            torch.save({**tree, "config": {**tree["config"], **stated}}, tmp_path / "best.pth")
            return tmp_path / "best.pth"

        return save

    def test_other_values_that_are_computed_are_used(self, save: Save) -> None:
        network = exported(save(bn_eps=1e-3, activation="ReLU"), "encoder")

        assert {m.eps for m in network.modules() if hasattr(m, "running_var")} == {1e-3}

    def test_how_images_are_scaled_is_told_or_kept(self, save: Save) -> None:
        unknown, stated = read(save()), read(save(input_scaling="per image"))

        assert unknown.settings["input_scaling"] == convcore.Setting(None, "unknown")
        assert any("scale them as training did" in line for line in unknown.evidence)
        kept = convcore.Setting("per image", "hyper_parameters")
        assert stated.settings["input_scaling"] == kept

    @pytest.mark.parametrize(
        ("stated", "option"),
        [({"activation": "leaky_relu"}, "activation"), ({"image_size": "big"}, "image_size"),
         ({"norm": "group"}, "norm")],
        ids=lambda value: str(value),
    )  # fmt: skip
    def test_a_value_that_is_not_computed_refuses_graphs_and_no_weights(
        self, save: Save, stated: dict[str, Any], option: str
    ) -> None:
        assert f"--config {option}=" in refused(save(**stated))

    def test_a_backbone_takes_the_file_s_eps_and_refuses_another_activation(
        self, save: Save
    ) -> None:
        from convcore_autoencoder import SemanticEncoder

        encoder = SemanticEncoder(pretrained_path=save(bn_eps=1e-3), device="cpu")

        assert encoder.encoder.stem[1].eps == 1e-3
        with pytest.raises(convcore.LayoutError, match="activation"):
            SemanticEncoder(pretrained_path=save(activation="mish"), device="cpu")


class TestSeqSetVAE:
    @pytest.fixture
    def save(self, tmp_path: Path) -> Save:
        def save(stage: str = "finetune_batch2", **stated: Any) -> Path:
            tree = torch.load(ROOT / f"examples/seqsetvae/SeqSetVAE_{stage}.ckpt")
            hyper = {**tree["hyper_parameters"], **stated}
            torch.save({"state_dict": tree["state_dict"], "hyper_parameters": hyper,
                        "pytorch-lightning_version": "2.4.0"}, tmp_path / "last.ckpt")  # fmt: skip
            return tmp_path / "last.ckpt"

        return save

    def test_what_is_assumed_has_an_origin_and_a_line(self, save: Save) -> None:
        match = read(save())

        assert match.settings["classification_only"] == convcore.Setting(True, "default")
        assert match.settings["time_edges"].origin == "default"
        assert match.settings["heads"].origin == "hyper_parameters"
        assert any(
            "classification_only=true, time_edges=0.5-1440" in line for line in match.evidence
        )

    def test_other_values_that_are_computed_are_used(self, save: Save) -> None:
        network: Any = exported(save(norm_eps=1e-3, post_norm_eps=1e-4), "sequence")

        norms = [m for m in network.modules() if isinstance(m, torch.nn.LayerNorm)]
        assert {m.eps for m in norms} == {1e-3, 1e-4}
        assert network.sequence.post_transformer_norm.eps == 1e-4
        assert network.sequence.norm_eps == 1e-3

    @pytest.mark.parametrize(
        ("stated", "option"),
        [({"classification_only": False}, "classification_only"), ({"heads": 7}, "heads"),
         ({"transformer_heads": "many"}, "transformer_heads"),
         ({"time_edges": [1.0, 2.0]}, "time_edges"), ({"activation": "relu"}, "activation")],
        ids=lambda value: str(value),
    )  # fmt: skip
    def test_a_value_that_is_not_computed_refuses_graphs_and_no_weights(
        self, save: Save, stated: dict[str, Any], option: str
    ) -> None:
        assert f"--config {option}=" in refused(save(**stated))

    def test_the_option_settles_the_mode(self, save: Save) -> None:
        match = read(save(classification_only=False), classification_only="true")

        assert match.settings["classification_only"] == convcore.Setting(True, "option")
        assert not [graph.refusal for graph in match.graphs() if graph.refusal]

    def test_a_finetuning_starts_with_the_file_s_eps_and_no_other_activation(
        self, save: Save, tmp_path: Path
    ) -> None:
        from convcore_seqsetvae import load_finetune

        path = save("pretrain_batch1", norm_eps=1e-3)
        started = convcore.convert(path, tmp_path / "out", "seqsetvae-finetune").output

        model = load_finetune(started)

        assert model.norm_eps == model.cls_head[1].eps == 1e-3
        assert model.post_transformer_norm.eps == 1e-6
        again = save("pretrain_batch1", activation="relu")
        with pytest.raises(convcore.TargetError, match="activation"):
            convcore.convert(again, tmp_path / "no", "seqsetvae-finetune")


class TestUMC:
    @pytest.fixture
    def save(self, tmp_path: Path) -> Save:
        def save(run: str = "umc_umc_MELD-DA_bert-base-uncased_0", **stated: Any) -> Path:
            (example,) = (ROOT / "examples/umc/outputs").rglob("pytorch_model.bin")
            models = tmp_path / run / "models"
            models.mkdir(parents=True, exist_ok=True)
            state = torch.load(example)
            content = {"state_dict": state, "hyper_parameters": stated} if stated else state
            torch.save(content, models / "pytorch_model.bin")
            return models / "pytorch_model.bin"

        return save

    def test_a_folder_s_name_is_all_that_says_the_dataset(self, save: Save) -> None:
        match = read(save(), nheads="8", bert_heads="4")

        assert match.settings["video_length"] == convcore.Setting(250, "dataset")
        assert any("the folder's name alone says" in line for line in match.evidence)
        assert any("video_length=250" in line and "--config" in line for line in match.evidence)

    def test_a_run_of_another_name_leaves_unknown_what_no_tensor_shows(self, save: Save) -> None:
        match = read(save("renamed"))

        unknown = ("nheads", "attn_mask", "text_length", "video_length", "audio_length")
        assert {match.settings[name].origin for name in unknown} == {"unknown"}
        assert all(set(graph.missing) <= {*unknown, "bert_heads"} for graph in match.graphs())
        assert all(graph.missing for graph in match.graphs())

    def test_what_is_stored_wins_over_the_dataset(self, save: Save) -> None:
        match = read(save(nheads=4, attn_mask=False, fusion_order="text-video-audio"))

        assert match.settings["nheads"] == convcore.Setting(4, "hyper_parameters")
        assert match.settings["attn_mask"] == convcore.Setting(False, "hyper_parameters")
        assert match.value("fusion_order") == "text-video-audio"

    @pytest.mark.parametrize(
        ("stated", "option"),
        [({"fusion_order": "sum"}, "fusion_order"), ({"encoder_activation": "mish"},
         "encoder_activation"), ({"nheads": 7}, "nheads"), ({"attn_mask": "some"}, "attn_mask")],
        ids=lambda value: str(value),
    )  # fmt: skip
    def test_a_value_that_is_not_computed_refuses_graphs(
        self, save: Save, stated: dict[str, Any], option: str
    ) -> None:
        (full,) = (graph for graph in read(save(**stated)).graphs() if graph.name == "full")

        assert option in full.missing

    def test_what_guesses_say_of_bert_is_called_a_guess(self, save: Save) -> None:
        match = read(save("renamed"))

        assert match.settings["bert_activation"] == convcore.Setting("gelu", "guess")
        assert match.settings["bert_layer_norm_eps"] == convcore.Setting(1e-12, "guess")

    def test_joined_in_another_order_the_same_weights_compute_something_else(self) -> None:
        from convcore_umc.nets import Fusion

        torch.manual_seed(0)
        usual, other = (Fusion(4, order, "gelu") for order in ("text-audio-video",
                                                               "audio-text-video"))  # fmt: skip
        other.load_state_dict(usual.state_dict())
        text, audio, video = torch.randn(3, 2, 4)

        assert torch.equal(usual(text, audio, video), other(audio, text, video))
        assert not torch.equal(usual(text, audio, video), other(text, audio, video))


@pytest.mark.parametrize("name", ["cyclegan", "etm", "autoencoder", "seqsetvae", "umc"])
def test_every_value_that_a_layout_declares_is_one_its_networks_take(name: str) -> None:
    layout = load_registry().find("layouts", name)

    for each in layout.assumes:
        for value in (each.value, *each.also):
            if value is not None:
                assert each.understand(str(value)) == each.understand(value) == value
    assert {"activation", "norm_eps"} & {each.name for each in layout.assumes}


def converter(folder: Path) -> Any:
    from convcore_cyclegan import FeatureConverter

    return FeatureConverter(folder, backend="torch")


def test_a_slope_beside_an_activation_without_one_is_refused() -> None:
    with pytest.raises(UsageError, match="negative_slope has no effect with activation=ReLU"):
        refuse_idle_slope({"activation": "ReLU", "negative_slope": "0.1"})

    refuse_idle_slope({"activation": "lrelu", "negative_slope": "0.1"})
