"""ETM: what its graphs and its runtime compute, against the golden numbers, and what is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import LayoutError, UsageError
from convcore.host.registry import Registry, load_registry
from convcore.targets.networks import build
from convcore_etm import CrossModal
from tests.plugins.etm_golden import (
    FLAT,
    GOLDEN,
    MATRICES,
    MODELS,
    PARTS,
    TEXTS,
    assert_golden,
    flat_state,
    recognised,
    separate_state,
)

COLOR, TEXT = GOLDEN["in_color"], GOLDEN["in_text"]
GRAPHS = {
    "color_encoder": (["color"], ["mu", "logvar"]),
    "text_encoder": (["text"], ["mu", "logvar"]),
    "decoder": (["theta"], ["recon_color", "recon_text", "score"]),
    "text_to_color": (["text"], ["theta", "recon_color", "score"]),
    "color_to_text": (["color"], ["theta", "recon_text", "score"]),
    "full": (["color", "text"], ["recon_color", "recon_text", "score", "theta", "mu", "logvar"]),
}
CONVENTIONS = {
    "gaussian": ("text_only", "color_only"),
    "zero": ("text_with_zero_color", "color_with_zero_text"),
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture(scope="module")
def converted(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden folder as ONNX, separate files and the flat file, with an example."""
    output = tmp_path_factory.mktemp("etm") / "out"
    targets = ("onnx", "pth", "state-dict")
    convert(Request(MODELS, output, targets, create_inference_script=True), registry)
    return output


@pytest.fixture(scope="module")
def with_zeros(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden flat file under the older convention for a missing side."""
    output = tmp_path_factory.mktemp("etm") / "zeros"
    config = {"one_sided": "zero"}
    convert(Request(FLAT, output, ("onnx", "pth"), config=config), registry)
    return output


@pytest.fixture(scope="module")
def folders(converted: Path, with_zeros: Path) -> dict[str, Path]:
    return {"gaussian": converted, "zero": with_zeros}


def run_onnx(folder: Path, graph: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(
        folder / f"{graph}.onnx", providers=["CPUExecutionProvider"]
    )
    names = [axis.name for axis in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("side", ["color", "text"])
def test_each_encoder_gives_the_origins_heads(side: str, converted: Path) -> None:
    heads = run_onnx(converted, f"{side}_encoder", **{side: GOLDEN[f"in_{side}"]})

    assert_golden(heads["mu"], f"{side}_mu")
    assert_golden(heads["logvar"], f"{side}_logvar")


def test_the_full_graph_gives_the_origins_forward(converted: Path) -> None:
    outputs = run_onnx(converted, "full", color=COLOR, text=TEXT)

    for name in GRAPHS["full"][1]:
        assert_golden(outputs[name], f"both_{name}")


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_one_side_alone_follows_the_convention(convention: str, folders: dict[str, Path]) -> None:
    text_only, color_only = CONVENTIONS[convention]

    forth = run_onnx(folders[convention], "text_to_color", text=TEXT)
    back = run_onnx(folders[convention], "color_to_text", color=COLOR)

    for name in GRAPHS["text_to_color"][1]:
        assert_golden(forth[name], f"{text_only}_{name}")
    for name in GRAPHS["color_to_text"][1]:
        assert_golden(back[name], f"{color_only}_{name}")


@pytest.mark.parametrize("way", [way for pair in CONVENTIONS.values() for way in pair])
def test_the_decoder_gives_the_origins_outputs_from_every_theta(way: str, converted: Path) -> None:
    outputs = run_onnx(converted, "decoder", theta=GOLDEN[f"{way}_theta"])

    for name in GRAPHS["decoder"][1]:
        assert_golden(outputs[name], f"{way}_{name}")


@pytest.mark.parametrize("way", [way for pair in CONVENTIONS.values() for way in pair])
def test_the_fused_gaussian_is_the_origins(way: str, registry: Registry) -> None:
    from convcore_etm.nets import fuse, unknown

    match = recognised(MODELS, registry)
    graphs = {graph.name: graph for graph in match.layout.graphs(match)}
    color = build(graphs["color_encoder"], match)(torch.from_numpy(COLOR))
    text = build(graphs["text_encoder"], match)(torch.from_numpy(TEXT))
    no_color = build(graphs["color_encoder"], match)(torch.zeros(COLOR.shape))
    no_text = build(graphs["text_encoder"], match)(torch.zeros(TEXT.shape))
    sides = {
        "text_only": (unknown(text), text),
        "color_only": (color, unknown(color)),
        "text_with_zero_color": (no_color, text),
        "color_with_zero_text": (color, no_text),
    }

    mu, logvar = fuse(*sides[way])

    assert_golden(mu.numpy(), f"{way}_mu")
    assert_golden(logvar.numpy(), f"{way}_logvar")


def test_the_pieces_put_together_by_hand_are_the_whole(converted: Path) -> None:
    color = run_onnx(converted, "color_encoder", color=COLOR)
    text = run_onnx(converted, "text_encoder", text=TEXT)
    v_1, v_2 = np.exp(color["logvar"]), np.exp(text["logvar"])
    v = v_1 * v_2 / (v_1 + v_2 + 1e-10)
    mu = v * (color["mu"] / (v_1 + 1e-10) + text["mu"] / (v_2 + 1e-10))
    theta = np.exp(mu) / np.exp(mu).sum(1, keepdims=True)

    decoded = run_onnx(converted, "decoder", theta=theta)

    whole = run_onnx(converted, "full", color=COLOR, text=TEXT)
    np.testing.assert_allclose(theta, whole["theta"], rtol=0, atol=1e-6)
    for name, value in decoded.items():
        np.testing.assert_allclose(value, whole[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("graph", GRAPHS)
def test_graphs_have_their_fixed_names_and_any_batch(graph: str, converted: Path) -> None:
    session = onnxruntime.InferenceSession(converted / f"{graph}.onnx")

    inputs, outputs = session.get_inputs(), session.get_outputs()

    assert ([axis.name for axis in inputs], [axis.name for axis in outputs]) == GRAPHS[graph]
    assert {axis.shape[0] for axis in (*inputs, *outputs)} == {"batch"}


def test_zeros_need_both_encoders_and_a_vague_side_only_one(registry: Registry) -> None:
    matches = {each: recognised(FLAT, registry, one_sided=each) for each in CONVENTIONS}

    components = {
        each: {graph.name: graph.components for graph in match.layout.graphs(match)}
        for each, match in matches.items()
    }

    assert components["gaussian"]["text_to_color"] == ("text_encoder", "decoder")
    assert set(components["zero"]["text_to_color"]) == set(PARTS)
    assert set(components["zero"]["color_to_text"]) == set(PARTS)


def test_split_files_are_the_origins_down_to_types_and_order(converted: Path) -> None:
    for part in PARTS:
        written = torch.load(converted / f"best_{part}.pth", weights_only=True)
        golden = separate_state(part)

        assert list(written) == list(golden)
        for name, value in golden.items():
            assert type(written[name]) is type(value)
            inner, there = (
                x if isinstance(x, OrderedDict) else {"": x} for x in (value, written[name])
            )
            assert list(there) == list(inner)
            assert all(torch.equal(there[key], inner[key]) for key in inner)


def test_the_matrices_can_be_assigned_as_the_origins_loader_does(with_zeros: Path) -> None:
    # Made of the flat file, whose tensors are no parameters: a module refuses plain tensors here.
    decoder = torch.load(with_zeros / "best_decoder.pth", weights_only=True)
    module = torch.nn.Module()
    for name in MATRICES:
        module.register_parameter(name, torch.nn.Parameter(torch.zeros(1)))

    for name in MATRICES:
        setattr(module, name, decoder[name])

    assert all(parameter.requires_grad for parameter in module.parameters())
    assert torch.equal(module.rho_text, flat_state()["rho_text"])


def test_the_flat_file_is_the_origins(converted: Path) -> None:
    written = torch.load(converted / "best_model.pth", weights_only=True)

    golden = flat_state()
    assert list(written) == list(golden)
    assert all(type(tensor) is torch.Tensor for tensor in written.values())
    assert all(torch.equal(written[key], golden[key]) for key in golden)


def test_split_merge_split_gives_the_same_bytes(
    converted: Path, registry: Registry, tmp_path: Path
) -> None:
    merged = converted / "best_model.pth"

    convert(Request(merged, tmp_path / "again"), registry)

    for part in PARTS:
        name = f"best_{part}.pth"
        assert (tmp_path / "again" / name).read_bytes() == (converted / name).read_bytes()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_the_output_folder_is_read_back_as_a_folder(
    suffix: str, registry: Registry, tmp_path: Path
) -> None:
    convert(Request(MODELS, tmp_path / "first", (suffix,)), registry)

    convert(Request(tmp_path / "first", tmp_path / "second", ("state-dict",)), registry)

    merged = torch.load(tmp_path / "second/best_model.pth", weights_only=True)
    golden = flat_state()
    assert list(merged) == list(golden)
    assert all(torch.equal(merged[key], golden[key]) for key in golden)


def test_what_the_origins_loader_opens_lies_beside_the_weights(converted: Path) -> None:
    architecture = json.loads((converted / "model_architecture.json").read_text())

    assert list(architecture) == [
        "num_topics", "color_dim", "text_dim", "embedding_dim", "hidden_dim", "dropout",
    ]  # fmt: skip
    assert architecture == json.loads((MODELS / "model_architecture.json").read_text())
    for name in ("best_theta.pt", "vocab.json", "tfidf_vectorizer.pkl"):
        assert (converted / name).read_bytes() == (MODELS / name).read_bytes()


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_runtime_gives_the_origins_numbers_from_rows(
    convention: str, backend: str, folders: dict[str, Path]
) -> None:
    text_only, color_only = CONVENTIONS[convention]
    modal = CrossModal(folders[convention], backend=backend)

    assert_golden(modal.text_to_color(TEXT), f"{text_only}_recon_color")
    assert_golden(modal.encode_text(TEXT), f"{text_only}_theta")
    assert_golden(modal.encode_color(COLOR), f"{color_only}_theta")


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_the_runtime_gives_the_origins_numbers_from_texts(backend: str, converted: Path) -> None:
    modal = CrossModal(converted, backend=backend)

    assert_golden(modal.vectorize(TEXTS), "in_text")
    assert_golden(modal.text_to_color(TEXTS), "text_only_recon_color")
    assert_golden(modal.encode_text(TEXTS[0]), "helper_encode_text_only_row0")
    assert_golden(modal.encode_color(COLOR[0]), "helper_encode_color_only_row0")


def test_the_likeliest_words_come_first(converted: Path) -> None:
    vocabulary = json.loads((MODELS / "vocab.json").read_text())
    by_column = {column: word for word, column in vocabulary.items()}
    _, columns = torch.topk(torch.from_numpy(GOLDEN["color_only_recon_text"]), 7)

    words = CrossModal(converted).color_to_text(COLOR, top=7)

    assert words == [[by_column[column] for column in row] for row in columns.tolist()]


def test_topics_are_the_origins_matrices(converted: Path, tmp_path: Path) -> None:
    for name in ("decoder.onnx", "model_config.json"):
        (tmp_path / name).write_bytes((converted / name).read_bytes())

    for folder in (converted, tmp_path):
        color, text = CrossModal(folder).topics()

        assert_golden(color, "topic_color_matrix")
        assert_golden(text, "topic_word_matrix")


def test_retrieval_by_the_text_mean_alone_can_be_computed(converted: Path) -> None:
    mu = run_onnx(converted, "text_encoder", text=TEXT)["mu"]

    theta = torch.softmax(torch.from_numpy(mu), dim=1).numpy()

    assert_golden(theta, "retrieval_theta_from_mu_text")


def test_the_runtime_says_which_file_is_missing(converted: Path, tmp_path: Path) -> None:
    (tmp_path / "model_config.json").write_bytes((converted / "model_config.json").read_bytes())
    modal = CrossModal(tmp_path)

    with pytest.raises(UsageError, match=r"no text_to_color\.onnx"):
        modal.text_to_color(TEXT)
    with pytest.raises(UsageError, match=r"no vocab\.json"):
        modal.text_to_color("a text")
    with pytest.raises(UsageError, match="the decoder's matrices"):
        modal.topics()
    with pytest.raises(UsageError, match=r"no model_config\.json"):
        CrossModal(tmp_path / "elsewhere")


def test_the_runtime_refuses_rows_of_another_width_and_unknown_settings(
    converted: Path, tmp_path: Path
) -> None:
    for name in ("model_config.json", "vocab.json", "idf.json"):
        (tmp_path / name).write_bytes((converted / name).read_bytes())
    settings = json.loads((tmp_path / "idf.json").read_text())
    (tmp_path / "idf.json").write_text(json.dumps({**settings, "tokenizer": "mine.split"}))

    with pytest.raises(ValueError, match=r"\(5, 15\), wanted is \(120,\)"):
        CrossModal(converted).text_to_color(COLOR)
    with pytest.raises(LayoutError, match=r"tokenizer='mine\.split' is not supported"):
        CrossModal(tmp_path).text_to_color("a text")


@pytest.mark.parametrize(
    ("target", "forbidden"),
    [("onnx", ("torch", "sklearn", "convcore")), ("pth", ("onnxruntime", "sklearn", "convcore"))],
)
def test_the_example_runs_without_convcore(
    target: str, forbidden: tuple[str, ...], converted: Path, registry: Registry, tmp_path: Path
) -> None:
    folder = converted
    if target == "pth":
        folder = tmp_path / "out"
        convert(Request(MODELS, folder, (target,), create_inference_script=True), registry)
    guard = f"import sys; sys.modules.update(dict.fromkeys({forbidden})); "
    script = folder / "inference_example.py"
    run = f"import runpy; sys.argv[1:] = [{TEXTS[0]!r}]; runpy.run_path({str(script)!r}, "

    done = subprocess.run(
        [sys.executable, "-c", guard + run + "run_name='__main__')"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    palette = (GOLDEN["text_only_recon_color"][0] * 255).round().astype(int).reshape(-1, 3)
    assert done.returncode == 0, done.stderr
    assert " ".join(str(tuple(map(int, color))) for color in palette) in done.stdout
