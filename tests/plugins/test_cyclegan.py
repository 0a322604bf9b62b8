"""CycleGAN: golden numbers of the origin, every variant of its structure, and the early module."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import LayoutError, UsageError
from convcore.host.registry import load_registry
from convcore.layouts.layout import LayoutMatch
from convcore.layouts.matching import match_layout
from convcore.sources.reading import read_checkpoint
from convcore.targets.networks import build
from convcore_cyclegan import FeatureConverter
from tests.plugins import cyclegan_checkpoints as made

DATA = Path(__file__).parents[1] / "data" / "cyclegan"
GOLDEN = np.load(DATA / "golden.npz")
REGISTRY = load_registry()
CONFIG = {"hidden_dims": [8, 12, 10], "n_residual_blocks": 1, "dropout": 0.3}


def recognise(path: Path) -> LayoutMatch:
    return match_layout(read_checkpoint(path, REGISTRY), REGISTRY)


def compute(match: LayoutMatch, graph: str, *inputs: np.ndarray) -> np.ndarray:
    (found,) = (one for one in match.layout.graphs(match) if one.name == graph)
    with torch.inference_mode():
        return build(found, match)(*map(torch.from_numpy, inputs)).numpy()


@pytest.fixture(scope="module")
def golden() -> LayoutMatch:
    return recognise(DATA / "last.ckpt")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cyclegan") / "out"
    convert(Request(DATA / "last.ckpt", output, ("pth", "onnx"), all_components=True), REGISTRY)
    return output


@pytest.mark.parametrize(
    ("graph", "given", "expected"),
    [
        ("generator_AB", "in_A", "AB"),
        ("generator_BA", "in_B", "BA"),
        ("generator_AB", "in_A_2d", "AB_2d"),
        ("generator_BA", "AB", "cycle_ABA"),
        ("generator_AB", "BA", "cycle_BAB"),
        ("discriminator_A", "in_A", "D_A"),
        ("discriminator_B", "in_B", "D_B"),
        ("convert_AB", "in_raw_A", "convert_script_AB"),
        ("convert_BA", "in_raw_B", "convert_script_BA"),
    ],
)
def test_networks_compute_what_the_origin_computed(
    golden: LayoutMatch, graph: str, given: str, expected: str
) -> None:
    features = GOLDEN[given]

    found = compute(golden, graph, features)

    np.testing.assert_allclose(found, GOLDEN[expected], atol=1e-5)


@pytest.mark.parametrize(
    ("file", "given", "expected"),
    [
        ("generator_AB", "in_A", "AB"),
        ("generator_BA", "in_B", "BA"),
        ("discriminator_A", "in_A", "D_A"),
        ("discriminator_B", "in_B", "D_B"),
        ("convert_AB", "in_raw_A", "convert_script_AB"),
        ("convert_BA", "in_raw_B", "convert_script_BA"),
    ],
)
def test_onnx_files_compute_what_the_origin_computed(
    converted: Path, file: str, given: str, expected: str
) -> None:
    features, wanted = GOLDEN[given], GOLDEN[expected]
    session = onnxruntime.InferenceSession(str(converted / f"{file}.onnx"))

    (found,) = session.run(
        None, {"features": np.atleast_3d(features).reshape(-1, *features.shape[-2:])}
    )

    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=1e-5)


def test_weight_files_are_the_bare_state_dicts_of_the_origins_exporter(converted: Path) -> None:
    whole = torch.load(DATA / "last.ckpt", weights_only=True)["state_dict"]

    for name in ("generator_AB", "generator_BA", "discriminator_A", "discriminator_B"):
        written = torch.load(converted / f"{name}.pth", weights_only=True)

        expected = {k.removeprefix(f"{name}."): v for k, v in whole.items() if k.startswith(name)}
        assert list(written) == list(expected)
        assert all(torch.equal(written[key], value) for key, value in expected.items())


def test_model_config_holds_the_fields_of_the_origins_exporter(converted: Path) -> None:
    origin = json.loads((DATA / "exported_model_config.json").read_text())

    written = json.loads((converted / "model_config.json").read_text())

    assert written.keys() == origin.keys()
    assert written["training"] == origin["training"]
    for part in ("generator_config", "discriminator_config"):
        assert written[part] == {"input_dim": 40, **origin[part]}


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_converter_takes_frames_sequences_and_batches(
    converted: Path, backend: str, axes: int
) -> None:
    converter = FeatureConverter(converted, backend)
    raw, wanted = GOLDEN["in_raw_A"], GOLDEN["convert_script_AB"]
    given = {1: raw[3], 2: raw, 3: np.stack([raw, raw[::-1]])}[axes]
    expected = {1: wanted[3], 2: wanted, 3: np.stack([wanted, wanted[::-1]])}[axes]

    found = converter.convert_A_to_B(given)

    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_converter_goes_both_ways(converted: Path) -> None:
    converter = FeatureConverter(converted)

    found = converter.convert_B_to_A(GOLDEN["in_raw_B"])

    np.testing.assert_allclose(found, GOLDEN["convert_script_BA"], atol=1e-5)


def test_the_converter_refuses_other_shapes(converted: Path) -> None:
    converter = FeatureConverter(converted)

    with pytest.raises(ValueError, match=r"\(5, 39\)"):
        converter.convert_A_to_B(np.zeros((5, 39)))


def test_the_converter_names_the_target_that_is_missing(converted: Path, tmp_path: Path) -> None:
    shutil.copy(converted / "model_config.json", tmp_path)

    with pytest.raises(UsageError) as caught:
        FeatureConverter(tmp_path, "torch")

    assert "generator_AB.pth" in caught.value.what
    assert "--to pth" in caught.value.remedy


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_one_direction_alone_converts_and_the_other_is_asked_for_by_name(
    backend: str, tmp_path: Path
) -> None:
    targets = ("pth", "onnx")
    request = Request(DATA / "last.ckpt", tmp_path / "out", targets, components=("generator_AB",))
    convert(request, REGISTRY)

    converter = FeatureConverter(tmp_path / "out", backend)
    found = converter.convert_A_to_B(GOLDEN["in_raw_A"])
    with pytest.raises(UsageError, match="generator_BA") as caught:
        converter.convert_B_to_A(GOLDEN["in_raw_B"])

    np.testing.assert_allclose(found, GOLDEN["convert_script_AB"], atol=1e-5)
    target = "onnx" if backend == "onnxruntime" else "pth"
    assert f"--to {target} --component generator_BA" in caught.value.remedy


@pytest.mark.parametrize(
    ("d", "hidden", "blocks", "batch_norm", "judges"),
    [
        pytest.param(6, [8, 12, 10], 1, True, True, id="plain"),
        pytest.param(13, [8, 12], 2, False, True, id="no-batch-norm"),
        pytest.param(5, [7], 1, True, True, id="one-hidden-layer"),
        pytest.param(4, [5], 0, False, True, id="smallest"),
        pytest.param(3, [5, 6, 7, 8], 0, True, False, id="no-blocks-no-discriminators"),
        pytest.param(8, [8, 8, 8], 3, True, True, id="all-sizes-equal"),
    ],
)
def test_structure_is_read_from_the_tensors_alone(
    tmp_path: Path, d: int, hidden: list[int], blocks: int, batch_norm: bool, judges: bool
) -> None:
    path = made.save(tmp_path, made.current(d, hidden, blocks, batch_norm, judges))

    match = recognise(path)

    found = {name: setting.value for name, setting in match.settings.items()}
    assert found["input_dim"] == d
    assert found["hidden_dims"] == hidden
    assert found["n_residual_blocks"] == blocks
    assert found["use_batch_norm"] is batch_norm
    assert found["learning_rate"] is None
    assert match.settings["learning_rate"].origin == "unknown"
    assert compute(match, "generator_BA", np.zeros((2, 3, d), np.float32)).shape == (2, 3, d)


def test_a_generator_without_batch_norm_skips_it_and_keeps_that_of_its_blocks(
    tmp_path: Path,
) -> None:
    state = made.current(5, [7, 6], 1, batch_norm=False)
    match = recognise(made.save(tmp_path, state))
    x = torch.randn(4, 5)

    found = compute(match, "generator_AB", x.numpy())

    w = {k.removeprefix("generator_AB."): v for k, v in state.items()}
    y = functional.leaky_relu(functional.linear(x, w["encoder.0.weight"], w["encoder.0.bias"]), 0.2)
    y = functional.leaky_relu(functional.linear(y, w["encoder.4.weight"], w["encoder.4.bias"]), 0.2)
    z = normed(w, "residual_blocks.0.block.1", dense(w, "residual_blocks.0.block.0", y))
    z = dense(w, "residual_blocks.0.block.4", functional.leaky_relu(z, 0.2))
    y = y + normed(w, "residual_blocks.0.block.5", z)
    y = functional.leaky_relu(dense(w, "decoder.0", y), 0.2)
    np.testing.assert_allclose(found, torch.tanh(dense(w, "decoder.4", y)).numpy(), atol=1e-5)


def test_counters_of_batch_norm_may_be_absent(tmp_path: Path) -> None:
    state = {k: v for k, v in made.current().items() if "num_batches" not in k}
    path = made.save(tmp_path, state)

    report = convert(Request(path, tmp_path / "out", ("pth", "onnx")), REGISTRY)

    assert all(check.passed for check in report.checks)


def test_a_null_generator_config_is_read_from_the_tensors(tmp_path: Path) -> None:
    hyper = {"input_dim": 6, "generator_config": None, "learning_rate": 1e-4}
    path = made.save(tmp_path, made.current(), hyper)

    match = recognise(path)

    assert match.value("hidden_dims") == [8, 12, 10]
    assert match.value("learning_rate") == 1e-4
    assert match.value("dropout") == 0.1
    assert match.settings["dropout"].origin == "default"


def test_a_stated_structure_that_contradicts_the_tensors_loses_and_is_told(tmp_path: Path) -> None:
    hyper = {"input_dim": 64, "generator_config": {**CONFIG, "n_residual_blocks": 5}}
    path = made.save(tmp_path, made.current(), hyper)

    match = recognise(path)

    assert (match.value("input_dim"), match.value("n_residual_blocks")) == (6, 1)
    told = " ".join(match.evidence)
    assert "input_dim says 64, the tensors say 6" in told
    assert "n_residual_blocks says 5, the tensors say 1" in told


def test_the_later_lines_learning_rates_and_weights_are_kept(tmp_path: Path) -> None:
    hyper = {"input_dim": 6, "generator_config": CONFIG, "lr_g": 3e-4, "lr_d": 1e-4}
    hyper |= {"lambda_fm": 2.0, "lambda_cycle_a": 9.0, "lambda_cycle_b": 8.0}
    path = made.save(tmp_path, made.current(), hyper)

    convert(Request(path, tmp_path / "out"), REGISTRY)

    training = json.loads((tmp_path / "out/model_config.json").read_text())["training"]
    assert "learning_rate" not in training
    assert (training["lr_g"], training["lr_d"], training["lambda_fm"]) == (3e-4, 1e-4, 2.0)
    assert (training["lambda_cycle_a"], training["lambda_cycle_b"]) == (9.0, 8.0)


def test_hyper_parameters_may_be_namespaces_and_of_any_type(tmp_path: Path) -> None:
    stored = {
        "generator_config": argparse.Namespace(**CONFIG),
        "discriminator_config": "none",
        "learning_rate": float("nan"),
        "lambda_cycle": 10**400,
        "use_identity_loss": 1,
    }
    path = made.save(tmp_path, made.current(), stored)

    match = recognise(path)

    assert match.value("dropout") == 0.3
    assert match.value("learning_rate") is None
    assert match.value("lambda_cycle") is None
    assert match.value("use_identity_loss") is None


@pytest.mark.parametrize("key", ["generator_AB.encoder.8.weight", "generator_BA.decoder.8.bias"])
def test_a_missing_tensor_is_named_and_does_not_change_the_structure(
    tmp_path: Path, key: str
) -> None:
    state = made.current()
    del state[key]
    path = made.save(tmp_path, state)

    with pytest.raises(LayoutError) as caught:
        recognise(path)

    (line,) = caught.value.seen
    assert line.startswith(f"missing: {key} ")


def test_a_misshapen_tensor_is_outvoted_and_named(tmp_path: Path) -> None:
    state = made.current()
    state["generator_BA.encoder.0.weight"] = torch.zeros(8, 7)
    path = made.save(tmp_path, state)

    with pytest.raises(LayoutError) as caught:
        recognise(path)

    assert caught.value.seen == (
        "wrong shape: generator_BA.encoder.0.weight is (8, 7), should be (8, 6)",
    )


@pytest.mark.parametrize(
    "key",
    [
        "generator_AB.encoder.12.weight",
        "generator_AB.encoder.99.weight",
        "generator_BA.decoder.16.bias",
        "generator_AB.residual_blocks.7.block.0.weight",
        "discriminator_A.model.40.weight",
    ],
)
@pytest.mark.parametrize("batch_norm", [True, False])
def test_one_tensor_too_many_makes_no_layer(key: str, batch_norm: bool, tmp_path: Path) -> None:
    state = made.current(batch_norm=batch_norm)

    match = recognise(made.save(tmp_path, state | {key: torch.zeros(2, 2)}))

    assert match.extra == (key,)


def test_a_stray_norm_makes_no_network_with_norms(tmp_path: Path) -> None:
    stray = "generator_AB.encoder.1.running_mean"
    state = made.current(batch_norm=False) | {stray: torch.zeros(8)}

    match = recognise(made.save(tmp_path, state))

    assert match.extra == (stray,)


def test_a_forged_layer_number_does_not_make_a_huge_schema(tmp_path: Path) -> None:
    state = made.current() | {"generator_AB.encoder.999999999.weight": torch.zeros(1)}
    path = made.save(tmp_path, state)

    match = recognise(path)

    assert match.extra == ("generator_AB.encoder.999999999.weight",)


NORMAL = {"mean_a": [0.5] * 6, "std_a": [2.0] * 6, "mean_b": [-1.0] * 6, "std_b": [0.5] * 6}


def test_normalisation_is_found_one_folder_up(tmp_path: Path) -> None:
    (tmp_path / "cyclegan-epoch=02-val").mkdir()
    path = made.save(tmp_path / "cyclegan-epoch=02-val", made.current())
    (tmp_path / "normalization_params.json").write_text(json.dumps(NORMAL))
    x = torch.randn(2, 3, 6)

    match = recognise(path)

    inner = compute(match, "generator_AB", ((x - 0.5) / 2).numpy())
    outer = compute(match, "convert_AB", x.numpy())
    np.testing.assert_allclose(outer, inner * 0.5 - 1, atol=1e-6)
    inner = compute(match, "generator_BA", ((x + 1) / 0.5).numpy())
    outer = compute(match, "convert_BA", x.numpy())
    np.testing.assert_allclose(outer, inner * 2 + 0.5, atol=1e-6)
    assert match.value("normalization") == "per domain"


def test_without_normalisation_there_are_no_graphs_of_raw_features(tmp_path: Path) -> None:
    match = recognise(made.save(tmp_path, made.current()))

    names = [graph.name for graph in match.layout.graphs(match)]

    assert names == ["generator_AB", "generator_BA", "discriminator_A", "discriminator_B"]
    assert match.settings["normalization"].origin == "unknown"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[", "no JSON", id="no-json"),
        pytest.param("[]", "no JSON object", id="no-object"),
        pytest.param("[" * 100_000, "nests deeper", id="deep"),
        pytest.param(json.dumps({**NORMAL, "std_b": [1.0] * 5}), "std_b has 5 numbers", id="short"),
        pytest.param(json.dumps({**NORMAL, "mean_b": 3}), "mean_b is no list", id="no-list"),
        pytest.param(
            json.dumps({**NORMAL, "mean_a": [True] * 6}), "mean_a[0] is no number", id="boolean"
        ),
        pytest.param(
            json.dumps({**NORMAL, "mean_a": [0.0] * 5 + [float("nan")]}), "finite", id="nan"
        ),
        pytest.param(json.dumps({**NORMAL, "mean_a": [1e39] * 6}), "finite in float32", id="huge"),
        pytest.param(json.dumps({**NORMAL, "std_a": [0.0] * 6}), "std_a[0] is 0.0", id="zero"),
    ],
)
def test_a_broken_normalisation_is_refused_with_its_fault(
    tmp_path: Path, text: str, said: str
) -> None:
    path = made.save(tmp_path, made.current())
    (tmp_path / "normalization_params.json").write_text(text)

    with pytest.raises(LayoutError) as caught:
        recognise(path)

    assert said in " ".join(caught.value.seen)


def dense(w: made.State, key: str, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, w[f"{key}.weight"], w[f"{key}.bias"])


def normed(w: made.State, key: str, x: torch.Tensor) -> torch.Tensor:
    scale = w[f"{key}.weight"] / torch.sqrt(w[f"{key}.running_var"] + 1e-5)
    return (x - w[f"{key}.running_mean"]) * scale + w[f"{key}.bias"]


def early_reference(w: made.State, x: torch.Tensor) -> torch.Tensor:
    """The early generator, from its description: linear, leaky, and only then batch norm."""
    for stack, count in (("encoder", 3), ("decoder", 2)):
        for place in range(count):
            x = functional.leaky_relu(dense(w, f"{stack}.{3 * place}", x), 0.2)
            x = normed(w, f"{stack}.{3 * place + 2}", x)
    return torch.tanh(dense(w, "decoder.6", x))


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("early")
    path = made.save(folder, made.early())
    convert(Request(path, folder / "out", ("pth", "onnx"), all_components=True), REGISTRY)
    return folder / "out"


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_the_early_architecture_converts_with_its_position_column(
    early: Path, backend: str
) -> None:
    features = np.random.default_rng(3).standard_normal((2, 5, 9)).astype(np.float32)

    found = FeatureConverter(early, backend).convert_A_to_B(features)

    position = torch.linspace(0, 1, 5)[None, :, None].expand(2, 5, 1)
    w = {
        key.removeprefix("generator_A_to_B."): value
        for key, value in made.early().items()
        if key.startswith("generator_A_to_B.")
    }
    expected = early_reference(w, torch.cat([torch.from_numpy(features), position], 2))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(("name", "width"), [("generator_AB", 9), ("discriminator_B", 1)])
def test_early_graphs_take_the_position_as_their_last_column(
    early: Path, name: str, width: int
) -> None:
    path = early / f"{name}.onnx"

    session = onnxruntime.InferenceSession(str(path))

    assert session.get_inputs()[0].shape == ["batch", "time", 10]
    assert session.get_outputs()[0].shape == ["batch", "time", width]


def test_the_early_discriminator_ends_in_a_sigmoid_and_skips_its_third_norm(
    tmp_path: Path,
) -> None:
    state = made.early()
    match = recognise(made.save(tmp_path, state))
    x = torch.randn(4, 10)

    found = compute(match, "discriminator_A", x.numpy())

    w = {k.removeprefix("discriminator_A."): v for k, v in state.items()}
    y = normed(w, "model.2", functional.leaky_relu(dense(w, "model.0", x), 0.2))
    y = normed(w, "model.5", functional.leaky_relu(dense(w, "model.3", y), 0.2))
    y = dense(w, "model.8", functional.leaky_relu(dense(w, "model.6", y), 0.2))
    np.testing.assert_allclose(found, torch.sigmoid(y).numpy(), atol=1e-5)


def test_an_early_generator_that_reads_no_position_is_refused(tmp_path: Path) -> None:
    state = made.early()
    for way in ("A_to_B", "B_to_A"):
        state[f"generator_{way}.encoder.0.weight"] = torch.zeros(64, 9)
    for domain in "AB":
        state[f"discriminator_{domain}.model.0.weight"] = torch.zeros(128, 9)
    path = made.save(tmp_path, state)

    with pytest.raises(LayoutError, match="one position beside 9 features"):
        recognise(path)
