"""From SeqSetVAE's pretraining to a finetuning: every key accounted for, one head to train."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import convcore_seqsetvae
from convcore.engine.audit.verify import verify
from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import SourceError, TargetError, UsageError
from convcore.host.registry import load_registry
from convcore_seqsetvae import transfer as transfer_module
from tests.attacks.tampering import mend
from tests.plugins import seqsetvae_keys as keys
from tests.plugins import seqsetvae_reference as reference

PRETRAINED = Path(__file__).parents[1] / "data" / "seqsetvae" / "pretrain.ckpt"
FINETUNED = PRETRAINED.with_name("finetune.ckpt")
TARGET, START = "seqsetvae-finetune", "finetune_start.ckpt"
TIME = {"rel_time_bucket_embed.weight", "alibi_slope", "time_tau"}


def transfer(output: Path, source: Path = PRETRAINED, **options: object) -> Path:
    convert(Request(source, output, (TARGET,), **options), load_registry())
    return output


def load(path: Path) -> dict:
    return torch.load(path, map_location="cpu", weights_only=True)


def fresh_head(seed: int, width: int = 32, classes: int = 2) -> dict[str, torch.Tensor]:
    """torch's own modules in the head's order, made right after the seed was set."""
    torch.manual_seed(seed)
    half, quarter = width // 2, width // 4
    head = nn.Sequential(
        *(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(0.2)),
        *(nn.Linear(width, half), nn.LayerNorm(half), nn.ReLU(), nn.Dropout(0.2)),
        *(nn.Linear(half, quarter), nn.LayerNorm(quarter), nn.ReLU(), nn.Dropout(0.1)),
        nn.Linear(quarter, classes),
    )
    return {f"cls_head.{key}": tensor for key, tensor in head.state_dict().items()}


def test_the_set_encoder_is_renamed_the_head_is_fresh_and_the_rest_is_kept(tmp_path) -> None:
    folder = transfer(tmp_path / "out")

    before, after = load(PRETRAINED)["state_dict"], load(folder / START)["state_dict"]
    expected = {
        key.replace("set_encoder.", "setvae.setvae.", 1): tensor for key, tensor in before.items()
    }
    expected |= fresh_head(0)
    assert after.keys() == expected.keys()
    assert all(torch.equal(after[key], expected[key]) for key in expected)


def test_but_for_the_dead_fusion_parts_it_has_the_keys_of_a_finetuning(tmp_path) -> None:
    folder = transfer(tmp_path / "out")

    start, real = load(folder / START)["state_dict"], load(FINETUNED)["state_dict"]
    missing = {key for key in real if key not in start}
    assert set(start) <= set(real)
    assert all(start[key].shape == real[key].shape for key in start)
    assert {key.partition(".")[0] for key in missing} == {
        "feature_fusion",
        "feature_projection",
        "vae_feature_fusion",
    }


def test_hyper_parameters_stay_as_training_stored_them(tmp_path) -> None:
    folder = transfer(tmp_path / "out", config={"num_classes": "5"})

    before, after = load(PRETRAINED), load(folder / START)
    stored = before["hyper_parameters"]
    assert {key: after["hyper_parameters"][key] for key in stored} == stored
    assert after["hyper_parameters"]["num_classes"] == 5
    assert after["state_dict"]["cls_head.12.weight"].shape == (5, 8)
    assert after["pytorch-lightning_version"] == before["pytorch-lightning_version"]


def test_the_seed_decides_and_the_same_seed_gives_the_same_bytes(tmp_path) -> None:
    torch.rand(3)  # whatever the caller drew before must not matter
    files = [
        (transfer(tmp_path / name, config={"seed": seed}) / START).read_bytes()
        for name, seed in (("a", "7"), ("b", "7"), ("c", "8"))
    ]

    assert files[0] == files[1]
    assert files[0] != files[2]
    assert torch.equal(
        load(tmp_path / "a" / START)["state_dict"]["cls_head.4.weight"],
        fresh_head(7)["cls_head.4.weight"],
    )


def test_the_caller_s_random_numbers_are_left_alone(tmp_path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(4)

    torch.manual_seed(1)
    transfer(tmp_path / "out")

    assert torch.equal(torch.rand(4), expected)


def test_the_time_embedding_can_be_lost_as_the_origin_loses_it(tmp_path) -> None:
    folder = transfer(tmp_path / "out", config={"time_embedding": "fresh"})

    before, after = load(PRETRAINED)["state_dict"], load(folder / START)["state_dict"]
    document = json.loads((folder / "transfer.json").read_text())
    embedding = after["rel_time_bucket_embed.weight"]
    assert embedding.shape == (64, 32)
    assert not torch.equal(embedding, before["rel_time_bucket_embed.weight"])
    assert (after["alibi_slope"].item(), after["time_tau"].item()) == (1.0, 60.0)
    assert set(document["dropped"]) == TIME
    assert set(document["fresh"]) >= TIME
    assert set(document["freeze"]) >= TIME


def test_transfer_json_names_every_key_once(tmp_path) -> None:
    folder = transfer(tmp_path / "out")

    document = json.loads((folder / "transfer.json").read_text())
    before, after = load(PRETRAINED)["state_dict"], load(folder / START)["state_dict"]
    old = [*document["kept"], *document["renamed"], *document["dropped"]]
    new = [*document["kept"], *document["renamed"].values(), *document["fresh"]]
    assert sorted(old) == sorted(before)
    assert sorted(new) == sorted(after)
    assert sorted([*document["freeze"], *document["train"]]) == sorted(after)
    assert document["train"] == [key for key in after if key.startswith("cls_head.")]


def test_the_ledger_follows_every_tensor_into_the_file(tmp_path) -> None:
    folder = transfer(tmp_path / "out", no_discriminators=True)

    manifest = json.loads((folder / "manifest.json").read_text())
    before, after = load(PRETRAINED)["state_dict"], load(folder / START)["state_dict"]
    rows = manifest["ledger"]
    written = {
        row["tensor"]: row.get("key", row["tensor"]) for row in rows if row["state"] == "written"
    }
    fresh = [row["key"] for row in rows if row["state"] == "fresh"]
    dropped = {row["tensor"]: row["reason"] for row in rows if row["state"] == "dropped"}
    assert {*written.values(), *fresh} == set(after)
    assert {*written, *dropped} == set(before)
    assert all(torch.equal(before[old], after[new]) for old, new in written.items())
    assert set(dropped.values()) == {"role: training"}
    assert all(check["passed"] for check in manifest["checks"])


@pytest.mark.parametrize(
    ("source", "layout"), [(FINETUNED, None), (PRETRAINED, "plain")], ids=["finetuned", "plain"]
)
def test_only_a_pretraining_checkpoint_is_accepted(tmp_path, source, layout) -> None:
    with pytest.raises(TargetError) as refused:
        transfer(tmp_path / "out", source, layout=layout)

    assert refused.value.exit_code == 5
    assert "pretraining" in refused.value.what
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"config": {"seed": "-1"}},
        {"config": {"seed": "9" * 400}},
        {"config": {"num_classes": "0"}},
        {"config": {"time_embedding": "lost"}},
        {"components": ("set_encoder",)},
    ],
    ids=str,
)
def test_what_no_finetuning_can_start_from_is_a_usage_error(tmp_path, options) -> None:
    with pytest.raises(UsageError) as refused:
        transfer(tmp_path / "out", **options)

    assert refused.value.exit_code == 2


def patient(seed: int = 0) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sets = [
        (torch.randn(1, n, 24, generator=generator), torch.randn(1, n, 1, generator=generator))
        for n in (3, 1, 5)
    ]
    return sets, torch.tensor([[0.0, 40.0, 2000.0]])


def test_the_loaded_module_computes_what_a_second_writing_computes(tmp_path) -> None:
    model = convcore_seqsetvae.load_finetune(transfer(tmp_path / "out"))
    state = load(tmp_path / "out" / START)["state_dict"]
    sets, minutes = patient()

    logits = model(sets, minutes)

    both = [reference.posterior(state, "setvae.setvae.", *one, heads=2) for one in sets]
    mu, logvar = (torch.stack(part, 1) for part in zip(*both, strict=True))
    std = (logvar / 2).exp()
    w = torch.sigmoid(1 - std.mean(-1, keepdim=True))
    z = w * mu * (1 + 0.05 * std.tanh()) + (1 - w) * mu
    features = reference.pooled(reference.hidden(state, z, minutes, heads=4), 0.7)
    head = reference.below(state, "cls_head.")
    for index in (0, 4, 8):
        features = reference.linear(head, str(index), features)
        features = reference.norm(head, str(index + 1), features).relu()
    assert (logits - reference.linear(head, "12", features)).abs().max() < 1e-5


def test_one_training_step_moves_the_head_and_nothing_else(tmp_path) -> None:
    model = convcore_seqsetvae.load_finetune(transfer(tmp_path / "out"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    # weight decay would move frozen weights too, were they handed to the optimizer with gradients
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)

    loss = nn.functional.cross_entropy(model.train()(*patient()), torch.tensor([1]))
    loss.backward()
    optimizer.step()

    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith("cls_head.")}


def test_what_was_finetuned_converts_to_what_the_module_computes(tmp_path) -> None:
    model = convcore_seqsetvae.load_finetune(transfer(tmp_path / "out"))
    hyper = load(tmp_path / "out" / START)["hyper_parameters"]
    path = keys.save(tmp_path / "tuned.ckpt", dict(model.state_dict()), hyper=hyper)

    convert(Request(path, tmp_path / "onnx", ("onnx",)), load_registry())

    generator = np.random.default_rng(0)
    mu, logvar = generator.standard_normal((2, 1, 4, 32)).astype("float32")
    minutes = np.array([[0, 1, 500, 2000]], dtype="float32")
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "sequence.onnx"))
    (got,) = session.run(["logits"], {"mu": mu, "logvar": logvar, "minutes": minutes})
    with torch.no_grad():
        expected = model.classify(*map(torch.from_numpy, (mu, logvar, minutes)))
    assert np.abs(got - expected.numpy()).max() < 1e-5


STORED = {"lr": 0.5, "latent_dim": 99, "heads": 2, "transformer_heads": torch.tensor(4)}
SOURCES = {  # what training stored, or None for a bare state dict; what --config says
    "a state dict": (None, {"heads": "4", "transformer_heads": "2"}),
    "a contradicted file": (STORED, {"heads": "8"}),
}


@pytest.mark.parametrize(("stored", "config"), SOURCES.values(), ids=SOURCES)
def test_what_was_settled_is_settled_again_and_computes_the_same(tmp_path, stored, config) -> None:
    state, path = keys.state_dict(keys.pretrained()), tmp_path / "a.ckpt"
    if stored is None:
        torch.save(state, path)
    else:
        keys.save(path, state, hyper=stored)
    folder = transfer(tmp_path / "out", path, config=config)

    convert(Request(folder / START, tmp_path / "again", ("onnx",)), load_registry())

    configurations = [
        json.loads((place / "model_config.json").read_text())
        for place in (folder, tmp_path / "again")
    ]
    for name in (*transfer_module.SIZES, *transfer_module.ATTENTION):
        assert configurations[0][name] == configurations[1][name], name
    assert load(folder / START)["hyper_parameters"].get("lr") == (stored or {}).get("lr")
    variables, values = torch.randn(1, 5, keys.INPUT), torch.randn(1, 5, 1)
    session = onnxruntime.InferenceSession(str(tmp_path / "again" / "set_encoder.onnx"))
    got = session.run(None, {"variables": variables.numpy(), "values": values.numpy()})
    heads = int(config["heads"])
    expected = reference.posterior(state, "set_encoder.", variables, values, heads)
    for one, other in zip(got, expected, strict=True):
        assert np.abs(one - other.numpy()).max() < 1e-5


def test_heads_that_nobody_knows_stay_unknown(tmp_path) -> None:
    hyper = {"heads": "two", "lr": 0.5}
    path = keys.save(tmp_path / "a.ckpt", keys.pretrained(), hyper=hyper)

    after = load(transfer(tmp_path / "out", path) / START)["hyper_parameters"]

    assert {name: after.get(name) for name in (*hyper, "transformer_heads")} == {
        **hyper,
        "transformer_heads": None,
    }


def test_a_version_that_is_not_computed_is_refused_as_onnx_refuses_it(tmp_path) -> None:
    state = keys.state_dict(keys.pretrained())
    for part, shape in (("w", keys.WIDTH), ("u", keys.WIDTH), ("b", 1)):
        state[f"set_encoder.flows.0.{part}"] = torch.ones(shape)
    path, reasons = keys.save(tmp_path / "a.ckpt", state), []

    for target in (TARGET, "onnx"):
        with pytest.raises(TargetError) as refused:
            convert(Request(path, tmp_path / target, (target,)), load_registry())
        reasons.append((refused.value.exit_code, refused.value.what.partition(": ")[2]))

    assert reasons[0] == reasons[1]
    assert "planar flows" in reasons[0][1]


def test_a_folder_without_a_transfer_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"transfer\.json"):
        convcore_seqsetvae.load_finetune(tmp_path)


def test_a_checkpoint_that_was_exchanged_is_refused(tmp_path) -> None:
    folder = transfer(tmp_path / "out")
    checkpoint = load(folder / START)
    del checkpoint["state_dict"]["cls_head.0.bias"]
    torch.save(checkpoint, folder / START)

    with pytest.raises(SourceError, match=r"transfer\.json") as refused:
        convcore_seqsetvae.load_finetune(folder)

    assert refused.value.seen == ("cls_head.0.bias",)


@pytest.mark.parametrize("lost", ["file", "freeze", "train", "num_classes"])
def test_a_damaged_description_is_refused(lost: str, tmp_path) -> None:
    folder = transfer(tmp_path / "out")
    document = json.loads((folder / "transfer.json").read_text())
    del document[lost]
    (folder / "transfer.json").write_text(json.dumps(document))

    with pytest.raises(SourceError, match=lost):
        convcore_seqsetvae.load_finetune(folder)


def faults(folder: Path) -> list[str]:
    return [f"{check.check}: {dict(check.figures)}" for check in verify(folder, load_registry())
            if not check.passed]  # fmt: skip


@pytest.mark.parametrize("time", ["kept", "fresh"])
def test_a_start_that_stands_is_verified(time: str, tmp_path: Path) -> None:
    folder = transfer(tmp_path / "out", config={"seqsetvae-finetune.time_embedding": time})

    assert faults(folder) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"seed": 0', '"seed": 1', "is not what the seed draws"),
        ('"seed": 0', '"seed": "0"', "is not what was written"),
        ('"cls_head.0.weight",', '"time_tau",', "another fresh"),
        ('"num_classes": 2', '"num_classes": 3', "another num_classes"),
    ],
    ids=["the seed", "no number", "what is fresh", "the classes"],
)
def test_a_document_that_says_otherwise_is_told_though_its_digest_was_mended(
    before: str, after: str, said: str, tmp_path: Path
) -> None:
    folder = transfer(tmp_path / "out")
    document = folder / "transfer.json"
    assert before in document.read_text()
    document.write_text(document.read_text().replace(before, after, 1))
    mend(folder)

    assert said in " ".join(faults(folder))


def test_a_fresh_tensor_that_was_changed_is_told(tmp_path: Path) -> None:
    folder = transfer(tmp_path / "out")
    tree = load(folder / START)
    tree["state_dict"]["cls_head.0.bias"] += 1
    torch.save(tree, folder / START)
    mend(folder)

    assert "cls_head.0.bias is not what the seed draws" in " ".join(faults(folder))
