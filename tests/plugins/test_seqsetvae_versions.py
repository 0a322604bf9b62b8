"""SeqSetVAE's versions told apart by their keys, and what is refused, with which exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import ConvcoreError, LayoutError, TargetError, UsageError
from convcore.host.registry import load_registry
from convcore.layouts.layout import LayoutMatch
from convcore.layouts.matching import match_layout
from convcore.sources.reading import read_checkpoint
from tests.plugins import seqsetvae_keys as keys
from tests.plugins import seqsetvae_reference as reference

COMPUTED = ("seed", "advanced", "gaussian_mil")
HEADS = {name: name.partition(" ")[0] for name in keys.VERSIONS}


def recognise(path: Path, **config: str) -> LayoutMatch:
    registry = load_registry()
    return match_layout(read_checkpoint(path, registry), registry, config=config)


def write(path: Path, *targets: str, components: Sequence[str] = (), **config: str) -> Path:
    output = path.with_suffix(".out")
    request = Request(path, output, targets, components=tuple(components), config=config)
    convert(request, load_registry())
    return output


def saved(tmp_path: Path, state: dict[str, torch.Tensor] | None = None, **options: object) -> Path:
    state = keys.state_dict(keys.VERSIONS["seed"]) if state is None else state
    return keys.save(tmp_path / "model.ckpt", state, **options)


@pytest.mark.parametrize("version", keys.VERSIONS)
def test_every_head_is_told_by_its_keys_and_named(tmp_path, version) -> None:
    match = recognise(keys.save(tmp_path / "a.ckpt", keys.VERSIONS[version]))

    assert match.value("head") == HEADS[version]
    assert match.value("num_classes") == keys.CLASSES
    assert any(f"head '{HEADS[version]}'" in sentence for sentence in match.evidence)
    assert not match.extra
    assert "remainder" not in match.states


@pytest.mark.parametrize("version", keys.VERSIONS)
def test_every_version_is_split_without_losing_a_tensor(tmp_path, version) -> None:
    path = keys.save(tmp_path / "a.ckpt", keys.VERSIONS[version])

    folder = write(path, "pth")

    state = torch.load(path, weights_only=True)["state_dict"]
    components = {file.stem: torch.load(file, weights_only=True) for file in folder.glob("*.pth")}
    assert sum(len(part) for part in components.values()) == len(state)
    single = "cls_head.1." if version == "temperature" else "cls_head."  # what all keys share
    prefixes = {"set_encoder": "setvae.setvae.", "classifier": single}
    for name, part in components.items():
        for key, tensor in part.items():
            assert torch.equal(tensor, state[prefixes.get(name, "") + key])


@pytest.mark.parametrize("version", [v for v in keys.VERSIONS if HEADS[v] not in COMPUTED])
def test_a_head_that_is_not_computed_is_refused_by_name(tmp_path, version) -> None:
    path = keys.save(tmp_path / "a.ckpt", keys.VERSIONS[version])

    with pytest.raises(TargetError) as refused:
        write(path, "onnx")

    assert refused.value.exit_code == 5
    assert any(f"classifier head '{HEADS[version]}'" in line for line in refused.value.seen)
    assert not path.with_suffix(".out").exists()


def test_beside_a_refused_head_the_rest_is_exported(tmp_path) -> None:
    state = keys.state_dict(keys.VERSIONS["two-linear"])
    path = saved(tmp_path, state)

    folder = write(path, "onnx", components=("set_encoder", "sequence"))

    assert sorted(file.name for file in folder.glob("*.onnx")) == [
        "sequence.onnx",
        "set_encoder.onnx",
    ]
    z, minutes = torch.randn(1, 4, keys.WIDTH), torch.tensor([[0.0, 5.0, 70.0, 1510.0]])
    session = onnxruntime.InferenceSession(str(folder / "sequence.onnx"))
    (got,) = session.run(None, {"z": z.numpy(), "minutes": minutes.numpy()})
    expected = reference.hidden(state, z, minutes, heads=4)
    assert (torch.from_numpy(got) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("version", "component", "why"),
    [
        ("pre-seed (first commits)", "set_encoder", "3e35a2e"),
        ("pre-seed (first commits)", "sequence", "de86393"),
        ("pre-seed (pos_embedding)", "sequence", "de86393"),
    ],
)
def test_mathematics_that_is_not_known_is_refused(tmp_path, version, component, why) -> None:
    path = keys.save(tmp_path / "a.ckpt", keys.VERSIONS[version])

    with pytest.raises(TargetError, match=why):
        write(path, "onnx", components=(component,))


@pytest.mark.parametrize(
    "key",
    [
        "transformer.layers.9.linear1.weight",
        "setvae.setvae.encoder_layers.7.inducing",
        "setvae.setvae.decoder_layers.3.isab.inducing",
        "decoder.decoder_layers.7.isab.inducing",
    ],
)
def test_one_tensor_too_many_makes_no_layer(tmp_path, key) -> None:
    state = keys.state_dict(keys.VERSIONS["seed"]) | {key: torch.ones(2)}

    assert recognise(saved(tmp_path, state)).extra == (key,)


def test_planar_flows_are_known_and_not_computed(tmp_path) -> None:
    state = keys.state_dict(keys.pretrained())
    for part, shape in (("w", keys.WIDTH), ("u", keys.WIDTH), ("b", 1)):
        state[f"set_encoder.flows.0.{part}"] = torch.zeros(shape)
    path = saved(tmp_path, state)

    assert not recognise(path).extra
    with pytest.raises(TargetError, match="planar flows"):
        write(path, "onnx")


def test_the_stand_alone_set_vae_has_one_graph(tmp_path) -> None:
    path = saved(tmp_path, keys.state_dict(keys.set_vae("setvae.")))

    match = recognise(path)

    assert match.value("stage") == "set-vae"
    assert [graph.name for graph in match.layout.graphs(match)] == ["set_encoder"]
    assert set(match.states) == {"set_encoder", "set_decoder"}


def test_a_finetuning_begun_without_fusion_parts_can_be_named_seed(tmp_path) -> None:
    path = saved(tmp_path, keys.state_dict(keys.VERSIONS["norms"]))

    graphs = {}
    for config in ({}, {"head": "seed"}):
        match = recognise(path, **config)
        graphs[match.value("head")] = [graph.refusal for graph in match.layout.graphs(match)]

    assert graphs["seed"] == [None, None]
    assert graphs["norms"][2] is not None


def test_sizes_come_from_the_tensors_and_heads_from_training(tmp_path) -> None:
    hyper = {**keys.HYPER, "latent_dim": 99, "levels": "many", "m": keys.POINTS}

    match = recognise(saved(tmp_path, hyper=hyper))

    found = {name: (setting.value, setting.origin) for name, setting in match.settings.items()}
    assert found["latent_dim"] == (keys.WIDTH, "shape")
    assert found["levels"] == (keys.LEVELS, "shape")
    assert found["heads"] == (2, "hyper_parameters")
    assert found["transformer_heads"] == (4, "hyper_parameters")
    said = [sentence for sentence in match.evidence if "the tensors win" in sentence]
    assert len(said) == 2
    assert any("latent_dim says 99" in sentence for sentence in said)


@pytest.mark.parametrize("stored", [None, 5, "two", True, -2], ids=str)
def test_onnx_names_the_options_that_no_file_gave(tmp_path, stored) -> None:
    hyper = {} if stored is None else {"heads": stored, "transformer_heads": stored}
    path = saved(tmp_path, hyper=hyper)

    with pytest.raises(LayoutError) as refused:
        write(path, "onnx")

    assert refused.value.exit_code == 4
    assert "--config heads=" in refused.value.remedy
    assert "--config transformer_heads=" in refused.value.remedy
    assert (write(path, "pth") / "set_encoder.pth").is_file()


def test_heads_given_by_option_are_those_of_the_graph(tmp_path) -> None:
    state = keys.state_dict(keys.set_vae("setvae."))
    path = saved(tmp_path, state, hyper={})

    folder = write(path, "onnx", heads="8")

    variables, values = torch.randn(2, 5, keys.INPUT), torch.randn(2, 5, 1)
    session = onnxruntime.InferenceSession(str(folder / "set_encoder.onnx"))
    got = session.run(["mu"], {"variables": variables.numpy(), "values": values.numpy()})[0]
    expected, _ = reference.posterior(state, "setvae.", variables, values, heads=8)
    other, _ = reference.posterior(state, "setvae.", variables, values, heads=2)
    assert (torch.from_numpy(got) - expected).abs().max() < 1e-5
    assert (expected - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    "config",
    [{"heads": "5"}, {"heads": "0"}, {"heads": "two"}, {"head": "advanced"}, {"layers": "2"}],
    ids=str,
)
def test_an_illegal_option_is_a_usage_error(tmp_path, config) -> None:
    path = saved(tmp_path)

    with pytest.raises(UsageError) as refused:
        write(path, "pth", **config)

    assert refused.value.exit_code == 2


def test_heads_stored_as_a_scalar_tensor_are_read(tmp_path) -> None:
    hyper = {"heads": torch.tensor(2), "transformer_heads": torch.tensor(4, dtype=torch.int32)}

    match = recognise(saved(tmp_path, hyper=hyper))

    settings = (match.settings[name] for name in hyper)
    assert [(one.value, one.origin) for one in settings] == [
        (2, "hyper_parameters"),
        (4, "hyper_parameters"),
    ]


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (torch.tensor(2.0), "a float32 tensor of shape []"),
        (torch.tensor([2, 4]), "a int64 tensor of shape [2]"),
    ],
    ids=["no whole number", "two numbers"],
)
def test_a_tensor_that_is_no_number_is_put_into_words(tmp_path, stored, said) -> None:
    match = recognise(saved(tmp_path, hyper={"heads": stored, "latent_dim": stored}))

    assert match.settings["heads"].origin == "unknown"
    evidence = "\n".join(match.evidence)
    assert f"heads says '{said}', which is not computed" in evidence
    assert f"latent_dim says '{said}'" in evidence
    assert "LazyTensor" not in evidence


@pytest.mark.parametrize("version", ["advanced", "gaussian_mil"])
def test_a_head_younger_than_the_gate_is_not_computed_without_it(tmp_path, version) -> None:
    state = keys.state_dict(keys.VERSIONS[version])
    del state["pooling_gate"]
    path = saved(tmp_path, state)

    with pytest.raises(LayoutError) as refused:
        write(path, "onnx")

    assert refused.value.exit_code == 4
    assert any("pooling_gate" in line for line in (refused.value.what, *refused.value.seen))


LOST = (
    "setvae.setvae.encoder_layers.2.mab1.multihead.in_proj_bias",
    "setvae.setvae.mu_logvar.4.weight",
    "setvae.setvae.dim_reducer.bias",
    "transformer.layers.0.norm1.weight",
    "decoder.out.bias",
    "cls_head.9.bias",
    "time_tau",
)


@pytest.mark.parametrize("key", LOST)
def test_a_missing_key_is_named(tmp_path, key) -> None:
    state = keys.state_dict(keys.VERSIONS["seed"])
    del state[key]

    with pytest.raises(LayoutError) as refused:
        write(saved(tmp_path, state), "pth")

    assert refused.value.exit_code == 4
    assert any(key in line for line in (refused.value.what, *refused.value.seen))


def test_a_level_that_is_missing_as_a_whole_is_noticed(tmp_path) -> None:
    state = keys.state_dict(keys.VERSIONS["seed"])
    last = f"setvae.setvae.encoder_layers.{keys.LEVELS - 1}."
    state = {key: tensor for key, tensor in state.items() if not key.startswith(last)}

    with pytest.raises(LayoutError, match=last.replace(".", r"\.")):
        recognise(saved(tmp_path, state))


@pytest.mark.parametrize("key", LOST)
def test_a_tensor_of_another_shape_is_named(tmp_path, key) -> None:
    state = keys.state_dict(keys.VERSIONS["seed"])
    state[key] = torch.zeros(*state[key].shape[1:], 11)

    with pytest.raises(LayoutError) as refused:
        recognise(saved(tmp_path, state))

    assert any(f"wrong shape: {key}" in line for line in refused.value.seen)


def test_a_reducer_that_training_had_is_missed(tmp_path) -> None:
    hyper = {**keys.HYPER, "reduced_dim": keys.INPUT}
    path = saved(tmp_path, keys.state_dict(keys.pretrained(reduced=False)), hyper=hyper)

    with pytest.raises(LayoutError, match="dim_reducer"):
        recognise(path)


def test_a_gate_of_no_legal_width_is_refused(tmp_path) -> None:
    state = keys.state_dict(keys.VERSIONS["gaussian_mil"])
    state["cls_head.gate.0.weight"] = torch.zeros(7, 2 * keys.WIDTH + 3)

    with pytest.raises(LayoutError, match=r"cls_head\.gate\.0"):
        recognise(saved(tmp_path, state))


def test_an_unknown_key_travels_with_its_component_but_not_into_a_graph(tmp_path) -> None:
    state = keys.state_dict(keys.VERSIONS["seed"])
    state["setvae.setvae.surprise"] = torch.arange(3.0)
    path = saved(tmp_path, state)

    with pytest.raises(TargetError, match="surprise") as refused:
        write(path, "onnx")
    folder = write(path, "pth")

    assert refused.value.exit_code == 5
    written = torch.load(folder / "set_encoder.pth", weights_only=True)
    assert torch.equal(written["surprise"], state["setvae.setvae.surprise"])


@pytest.mark.parametrize("prefix", ["module.", "model.", "model.module.", "_orig_mod."])
def test_a_wrapper_s_prefix_changes_nothing(tmp_path, prefix) -> None:
    state = keys.state_dict(keys.VERSIONS["seed"])
    path = saved(tmp_path, {prefix + key: tensor for key, tensor in state.items()})

    match = recognise(path)

    assert match.value("head") == "seed"
    assert set(match.checkpoint.tensors) == set(state)


def test_the_product_of_experts_family_is_not_mistaken_for_it(tmp_path) -> None:
    state = keys.state_dict(keys.pretrained())
    del state["alibi_slope"], state["time_tau"]
    for index, after in ((0, keys.WIDTH), (2, 2 * keys.WIDTH)):
        state[f"prior_head.{index}.weight"] = torch.zeros(after, keys.WIDTH)
        state[f"prior_head.{index}.bias"] = torch.zeros(after)

    with pytest.raises(ConvcoreError) as refused:
        recognise(saved(tmp_path, state))

    assert refused.value.exit_code == 4
