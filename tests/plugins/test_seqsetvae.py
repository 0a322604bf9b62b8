"""SeqSetVAE: what its graphs compute, against the real network's numbers and a second writing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.host.registry import load_registry
from convcore.layouts.matching import match_layout
from convcore.sources.reading import read_checkpoint
from convcore.targets.networks import build
from tests.plugins import seqsetvae_keys as keys
from tests.plugins import seqsetvae_reference as reference

DATA = Path(__file__).parents[1] / "data" / "seqsetvae"
EXAMPLES = Path(__file__).parents[2] / "examples" / "seqsetvae"
TAGS = {"pretrain": "pretrain", "finetune": "finetune_clsonly"}
PATIENTS = {"p0": 4, "p1": 2, "p2": 3}  # p2's minutes go back once: there the time bias acts


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(DATA / "golden.npz"))


def to_onnx(checkpoint: Path, output: Path, **options: object) -> Path:
    convert(Request(checkpoint, output, ("onnx",), **options), load_registry())
    return output


def run(folder: Path, graph: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(folder / f"{graph}.onnx"))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


@pytest.fixture(scope="module", params=TAGS)
def converted(request, tmp_path_factory) -> tuple[str, Path]:
    name = request.param
    folder = tmp_path_factory.mktemp("seqsetvae") / name
    return TAGS[name], to_onnx(DATA / f"{name}.ckpt", folder, create_inference_script=True)


def inputs_of(golden, tag: str, patient: str) -> dict[str, np.ndarray]:
    """The patient's posteriors of the last level and its minutes, as the graph takes them."""
    sets = range(PATIENTS[patient])
    stacked = {
        name: np.stack([golden[f"{tag}_{patient}_set{j}_level1_{name}"][:, 0] for j in sets], 1)
        for name in ("mu", "logvar")
    }
    if tag == "pretrain":
        del stacked["logvar"]
    return {**stacked, "minutes": golden[f"{patient}_minutes"][None]}


@pytest.mark.parametrize("patient", PATIENTS)
def test_the_set_encoder_gives_the_golden_posteriors(converted, golden, patient) -> None:
    tag, folder = converted

    for index in range(PATIENTS[patient]):
        at = f"{patient}_set{index}"
        got = run(folder, "set_encoder", variables=golden[f"{at}_var"], values=golden[f"{at}_val"])
        for name in ("mu", "logvar"):
            assert got[name].shape == (1, 32)
            assert np.abs(got[name] - golden[f"{tag}_{at}_level1_{name}"][:, 0]).max() < 1e-5


@pytest.mark.parametrize("patient", PATIENTS)
def test_the_sequence_gives_the_golden_states_and_classes(converted, golden, patient) -> None:
    tag, folder = converted

    got = run(folder, "sequence", **inputs_of(golden, tag, patient))

    expected = {"hidden": "h_seq", "logits": "logits", "probabilities": "probs"}
    assert list(got) == (["hidden"] if tag == "pretrain" else list(expected))
    for name, array in got.items():
        assert np.abs(array - golden[f"{tag}_{patient}_{expected[name]}"]).max() < 1e-5


@pytest.mark.parametrize("patient", PATIENTS)
def test_set_encoder_then_sequence_is_the_whole_model(converted, golden, patient) -> None:
    tag, folder = converted
    sets = [
        run(
            folder,
            "set_encoder",
            variables=golden[f"{patient}_set{j}_var"],
            values=golden[f"{patient}_set{j}_val"],
        )
        for j in range(PATIENTS[patient])
    ]
    inputs = inputs_of(golden, tag, patient)
    for name in set(inputs) - {"minutes"}:
        inputs[name] = np.stack([one[name] for one in sets], axis=1)

    got = run(folder, "sequence", **inputs)

    assert np.abs(got["hidden"] - golden[f"{tag}_{patient}_h_seq"]).max() < 1e-5


@pytest.mark.parametrize("name", TAGS)
@pytest.mark.parametrize("patient", PATIENTS)
def test_every_step_inside_the_sequence_is_the_golden_one(golden, name, patient) -> None:
    from convcore_seqsetvae import nets

    tag, registry = TAGS[name], load_registry()
    match = match_layout(read_checkpoint(DATA / f"{name}.ckpt", registry), registry)
    graph = next(graph for graph in match.layout.graphs(match) if graph.name == "sequence")
    network = build(graph, match)
    inputs = {k: torch.from_numpy(v) for k, v in inputs_of(golden, tag, patient).items()}
    mu, minutes = inputs["mu"], inputs["minutes"]

    sequence = network if tag == "pretrain" else network.sequence
    z = mu if tag == "pretrain" else nets.fuse_seed(mu, inputs["logvar"])
    steps = {
        "z_seq_into_transformer": sequence.place(z, minutes),
        "attn_bias_mask": sequence.mask(minutes)[0, 0],
    }
    if tag != "pretrain":
        steps["enhanced_features"] = sequence.pool(sequence(z, minutes))
        for index in range(PATIENTS[patient]):
            steps[f"set{index}_fused"] = z[:, index]

    for step, value in steps.items():
        expected = golden[f"{tag}_{patient}_{step}"]
        np.testing.assert_allclose(value.numpy(), expected, rtol=0, atol=1e-5, err_msg=step)


def test_a_gap_falls_into_the_bucket_the_origin_computes() -> None:
    from convcore_seqsetvae.nets import TIME_EDGES

    edges = torch.tensor(TIME_EDGES)
    around = [torch.nextafter(edges, torch.tensor(to)) for to in (0.0, 1e9)]
    steady = torch.tensor([0.0, 0.5, 1.0, 60.0, 1439.0, 1440.0, 1441.0, 5e4])
    gaps = torch.cat([edges, *around, steady, torch.arange(0, 1500, 0.05)])

    found = (gaps.unsqueeze(1) > edges).sum(1)

    origin = torch.logspace(np.log10(0.5), np.log10(1440.0), steps=63)
    assert torch.equal(found, torch.bucketize(torch.log1p(gaps), torch.log1p(origin)))
    assert found[len(edges) * 3 + 5] == 63  # 24 hours to the minute


def test_files_say_which_axes_may_vary(converted) -> None:
    tag, folder = converted
    described = {}

    for graph in ("set_encoder", "sequence"):
        session = onnxruntime.InferenceSession(str(folder / f"{graph}.onnx"))
        both = (session.get_inputs(), session.get_outputs())
        described[graph] = [{axis.name: axis.shape for axis in axes} for axes in both]

    sets = [1, "sets", 32]
    posteriors = {"mu": sets} if tag == "pretrain" else {"mu": sets, "logvar": sets}
    classes = {} if tag == "pretrain" else {"logits": [1, 2], "probabilities": [1, 2]}
    assert described == {
        "set_encoder": [
            {"variables": ["batch", "n", 24], "values": ["batch", "n", 1]},
            {"mu": ["batch", 32], "logvar": ["batch", 32]},
        ],
        "sequence": [{**posteriors, "minutes": [1, "sets"]}, {"hidden": sets, **classes}],
    }


def test_the_example_reads_a_patient_with_numpy_and_onnxruntime_only(converted) -> None:
    tag, folder = converted
    forbid = "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'convcore')))"
    go = "import runpy; runpy.run_path('inference_example.py', run_name='__main__')"

    done = subprocess.run(
        [sys.executable, "-c", f"{forbid}; {go}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hidden (1, 2, 32)")
    assert ("probabilities (1, 2)" in done.stdout) == (tag != "pretrain")


@pytest.mark.parametrize("reduced", [True, False], ids=["dim_reducer", "no dim_reducer"])
def test_other_sizes_compute_what_a_second_writing_computes(tmp_path, reduced) -> None:
    state = keys.state_dict(keys.pretrained(reduced=reduced))
    folder = to_onnx(keys.save(tmp_path / "a.ckpt", state), tmp_path / "out")
    draw = np.random.default_rng(1).standard_normal

    for batch, n, scale in ((1, 1, 1.0), (7, 2, 1.0), (2, 40, 1.0), (1, 3, 0.0), (1, 3, 1e-8)):
        variables = (scale * draw((batch, n, keys.INPUT))).astype("float32")
        values = draw((batch, n, 1)).astype("float32")
        got = run(folder, "set_encoder", variables=variables, values=values)
        arrays = torch.from_numpy(variables), torch.from_numpy(values)
        mu, logvar = reference.posterior(state, "set_encoder.", *arrays, heads=2)
        assert np.abs(got["mu"] - mu.numpy()).max() < 1e-5
        assert np.abs(got["logvar"] - logvar.numpy()).max() < 1e-5
    for sets in (1, 2, 30):
        mu = draw((1, sets, keys.WIDTH)).astype("float32")
        minutes = np.abs(draw((1, sets)) * 500).astype("float32")  # in no order at all
        got = run(folder, "sequence", mu=mu, minutes=minutes)
        h = reference.hidden(state, torch.from_numpy(mu), torch.from_numpy(minutes), heads=4)
        assert np.abs(got["hidden"] - h.numpy()).max() < 1e-5


LATER = {
    "advanced": (keys.VERSIONS["advanced"], None),
    "gaussian_mil": (keys.VERSIONS["gaussian_mil"], False),
    "gaussian_mil with time": (
        list(keys.finetuned(keys.gaussian(timed=True), keys.keys(pooling_gate=()), out="out")),
        True,
    ),
}


@pytest.mark.parametrize(("shapes", "timed"), LATER.values(), ids=LATER)
def test_later_heads_compute_what_a_second_writing_computes(tmp_path, shapes, timed) -> None:
    state = keys.state_dict(shapes)
    folder = to_onnx(keys.save(tmp_path / "a.ckpt", state), tmp_path / "out")
    draw = np.random.default_rng(2).standard_normal

    for sets, scale in ((1, 1.0), (2, 0.3), (12, 0.3), (3, 0.0)):
        mu, logvar = (scale * draw((2, 1, sets, keys.WIDTH))).astype("float32")
        minutes = np.sort(np.abs(draw((1, sets)))).astype("float32")
        got = run(folder, "sequence", mu=mu, logvar=logvar, minutes=minutes)
        m, lv, t = (torch.from_numpy(array) for array in (mu, logvar, minutes))
        h = reference.hidden(state, reference.later_fusion(m, lv), t, heads=4)
        if timed is None:
            share = state["pooling_gate"].sigmoid().item()
            logits = reference.advanced_head(state, reference.pooled(h, share))
        else:
            logits = reference.gaussian_head(state, m, lv, t if timed else None)
        assert np.abs(got["hidden"] - h.numpy()).max() < 1e-5
        largest = max(1.0, logits.abs().max().item())
        assert np.abs(got["logits"] - logits.numpy()).max() < 1e-5 * largest
        assert np.abs(got["probabilities"] - logits.softmax(-1).numpy()).max() < 1e-5


@pytest.mark.parametrize("version", ["seed", "advanced", "gaussian_mil"])
def test_the_oldest_opset_computes_what_the_default_one_does(tmp_path, version) -> None:
    path = keys.save(tmp_path / "a.ckpt", keys.VERSIONS[version])

    old, new = (to_onnx(path, tmp_path / str(opset), opset=opset) for opset in (17, 20))

    draw = np.random.default_rng(3).standard_normal
    sets, posteriors = (2, 5), (1, 4, keys.WIDTH)
    inputs = {
        "set_encoder": {
            "variables": draw((*sets, keys.INPUT)).astype("float32"),
            "values": draw((*sets, 1)).astype("float32"),
        },
        "sequence": {
            "mu": draw(posteriors).astype("float32"),
            "logvar": draw(posteriors).astype("float32"),
            "minutes": np.array([[0, 30, 31, 1471]], "float32"),
        },
    }
    for graph, given in inputs.items():
        written = onnx.load(old / f"{graph}.onnx")
        assert [(entry.domain, entry.version) for entry in written.opset_import] == [("", 17)]
        both = (run(folder, graph, **given) for folder in (old, new))
        for one, other in zip(*(found.values() for found in both), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TAGS)
def test_a_real_training_writes_the_keys_of_the_golden_checkpoints(name) -> None:
    files = {
        "pretrain": "SeqSetVAE_pretrain_batch1.ckpt",
        "finetune": "SeqSetVAE_finetune_batch2.ckpt",
    }

    ours, real = (
        torch.load(path, weights_only=True)
        for path in (EXAMPLES / files[name], DATA / f"{name}.ckpt")
    )

    assert set(ours["state_dict"]) == set(real["state_dict"])
    assert set(ours["hyper_parameters"]) == set(real["hyper_parameters"])
