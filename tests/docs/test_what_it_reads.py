"""Each row of README's "What it reads" is typed, on a small file made as the row says."""

from __future__ import annotations

import io
import json
import pickle
import re
import shlex
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.conftest import ROOT, Ran
from tests.sources.nets import average, below, momentum, net, same, written

Run = Callable[..., Ran]
State = Mapping[str, torch.Tensor]
TABLE = (
    (ROOT / "README.md").read_text("utf-8").partition("## What it reads")[2].partition("\n## ")[0]
)
COMMANDS = dict(re.findall(r"^\| (.+?) \| `convcore (.+?)` \|$", TABLE, re.M))
UP, DOWN = net(5, 7, norm=True), net(7, 3, 2)


def saved(tree: object) -> bytes:
    stream = io.BytesIO()
    torch.save(tree, stream)
    return stream.getvalue()


def training_checkpoint() -> dict[str, State]:
    torch.save(
        {"epoch": 3, "state_dict": below("module.", UP), "optimizer": momentum(UP)}, "last.ckpt"
    )
    return {"model": UP}


def several() -> dict[str, State]:
    torch.save({"nets": {"G": UP, "D": [DOWN, net(2, 2)]}, "epoch": 3}, "gan.pt")
    return {"nets.G": UP, "nets.D.0": DOWN, "nets.D.1": net(2, 2)}


def modules() -> dict[str, State]:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    torch.save(net, "module.pt")
    return {"model": net.state_dict()}


def learner() -> dict[str, State]:
    """As fastai's ``Learner.export`` does: one object, the module among its attributes."""
    module = types.ModuleType("fastai_like")
    kind = type("Learner", (), {"__module__": "fastai_like"})
    module.Learner = kind  # type: ignore[attr-defined]
    sys.modules["fastai_like"] = module
    try:
        exported: Any = kind()
        exported.model, exported.dls, exported.mean = nn.Linear(3, 2), [1, 2], torch.rand(3)
        torch.save(exported, "export.pkl")
    finally:
        del sys.modules["fastai_like"]
    return {"model": exported.model.state_dict()}


def averaged() -> dict[str, State]:
    torch.save({"model": DOWN, "model_ema": average(DOWN), "epoch": 3}, "ema.pt")
    return {"model": average(DOWN)}


def arrays() -> dict[str, State]:
    found = {"model": {n: t.numpy() for n, t in DOWN.items()}, "__author__": "somebody"}
    Path("arrays.pkl").write_bytes(pickle.dumps(found))
    return {"model": DOWN}


def separate() -> dict[str, State]:
    Path("nets").mkdir()
    torch.save(UP, "nets/generator.pth")
    torch.save({"state_dict": DOWN}, "nets/critic.pt")
    torch.save(momentum(UP), "nets/optimizer.pt")
    return {"generator": UP, "critic": DOWN}


def hugging_face() -> dict[str, State]:
    """What transformers itself writes for a model that is larger than a shard may be."""
    from transformers import BertConfig, BertModel

    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertModel(BertConfig(vocab_size=40, num_hidden_layers=1, **small))
    model.save_pretrained("bert", max_shard_size="6KB")
    assert len([*Path("bert").glob("*.safetensors")]) > 1
    return {"model": model.state_dict()}


def trainer() -> dict[str, State]:
    for step, state in ((10, average(UP)), (20, UP)):
        home = Path(f"trainer/checkpoint-{step}")
        home.mkdir(parents=True)
        save_file(dict(state), home / "model.safetensors")
        torch.save(momentum(UP), home / "optimizer.pt")
        torch.save({"python": 1, "cpu": torch.get_rng_state()}, home / "rng_state.pth")
        torch.save({"lr": 0.1}, home / "training_args.bin")
        (home / "trainer_state.json").write_text("{}")
    return {"model": UP}


def adapter() -> dict[str, State]:
    home = Path("lora")
    home.mkdir()
    name = "base_model.model.layers.0.q_proj"
    state = {f"{name}.lora_A.weight": torch.rand(2, 4), f"{name}.lora_B.weight": torch.rand(4, 2)}
    save_file(state, home / "adapter_model.safetensors")
    (home / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    return {"adapter": state}


def accelerate() -> dict[str, State]:
    home = Path("state")
    home.mkdir()
    save_file(UP, home / "model.safetensors")
    save_file(DOWN, home / "model_1.safetensors")
    torch.save(momentum(UP), home / "optimizer.bin")
    rng = {"step": 1, "torch_manual_seed": torch.get_rng_state()}
    (home / "random_states_0.pkl").write_bytes(saved(rng))
    return {"model": UP, "model_1": DOWN}


def pipeline() -> dict[str, State]:
    for folder, name, state in (
        ("unet", "diffusion_pytorch_model", UP),
        ("text_encoder", "model", DOWN),
    ):
        Path("pipeline", folder).mkdir(parents=True)
        save_file(state, Path("pipeline", folder, f"{name}.safetensors"))
        Path("pipeline", folder, "config.json").write_text("{}")
    Path("pipeline/scheduler").mkdir()
    Path("pipeline/scheduler/scheduler_config.json").write_text("{}")
    Path("pipeline/model_index.json").write_text('{"unet": ["diffusers", "UNet2DModel"]}')
    return {"unet": UP, "text_encoder": DOWN}


def agent() -> dict[str, State]:
    """As stable-baselines3 documents its zip archives."""
    with zipfile.ZipFile("agent.zip", "w") as archive:
        archive.writestr("data", json.dumps({"gamma": 0.99}))
        archive.writestr("policy.pth", saved(DOWN))
        archive.writestr("policy.optimizer.pth", saved(momentum(DOWN)))
        archive.writestr("pytorch_variables.pth", saved({}))
        archive.writestr("_stable_baselines3_version", "2.3.0")
    return {"model": DOWN}


def archived() -> dict[str, State]:
    with tarfile.open("runs.tar", "w") as archive:
        for name, state in (("best.pt", average(UP)), ("last.pt", UP)):
            data = saved(state)
            member = tarfile.TarInfo(f"run/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return {"model": UP}


ROWS: dict[str, Callable[[], Mapping[str, State]]] = {
    "last.ckpt": training_checkpoint,
    "gan.pt": several,
    "module.pt": modules,
    "export.pkl": learner,
    "ema.pt": averaged,
    "arrays.pkl": arrays,
    "nets": separate,
    "bert": hugging_face,
    "trainer": trainer,
    "lora": adapter,
    "state": accelerate,
    "pipeline": pipeline,
    "agent.zip": agent,
    "runs.tar": archived,
}
WORDS = {words[1]: words for words in map(shlex.split, COMMANDS.values())}


def test_every_row_is_tried() -> None:
    assert WORDS.keys() == ROWS.keys()
    assert len(COMMANDS) == len(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_the_command_of_a_row_writes_the_networks_that_were_saved(
    name: str, convcore: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = ROWS[name]()

    ran = convcore(*WORDS[name])

    assert ran.code == 0, ran.err
    found = written(tmp_path / "out")
    assert found.keys() == expected.keys()
    for component, state in expected.items():
        order = sorted(state)  # safetensors has an order of its own
        assert same({key: found[component][key] for key in sorted(found[component])},
                    {key: state[key] for key in order})  # fmt: skip
