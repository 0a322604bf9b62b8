"""Folders of separate files, read as one model: each file with a network is one of its networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import convcore
from convcore.errors import LayoutError, SourceError, UsageError
from tests.sources.nets import average, momentum, net, same, written

UP, DOWN = net(5, 7, norm=True), net(7, 3, 2)


def fill(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".safetensors"):
            save_file(content, path)
        elif isinstance(content, str):
            path.write_text(content)
        else:
            torch.save(content, path)
    return folder


FOLDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "two networks": (
        {"upper.pth": UP, "lower.pkl": DOWN, "adam.pth": momentum(UP), "log.txt": "x"},
        {"upper": UP, "lower": DOWN},
    ),
    "numbered by order": (
        {"model.safetensors": UP, "model_1.safetensors": DOWN, "optimizer.bin": momentum(UP)},
        {"model": UP, "model_1": DOWN},
    ),
    "numbered by order, in the older format": (
        {"pytorch_model.bin": UP, "pytorch_model_1.bin": DOWN, "optimizer.bin": momentum(UP)},
        {"model": UP, "model_1": DOWN},
    ),
    "folds": (
        {f"fold_{n}.pt": net(4, 2, seed=n) for n in range(3)},
        {f"fold_{n}": net(4, 2, seed=n) for n in range(3)},
    ),
    "one model in two formats": (
        {"config.json": "{}", "model.safetensors": UP, "pytorch_model.bin": average(UP)},
        {"model": UP},
    ),
    "a pipeline": (
        {
            "model_index.json": "{}",
            "denoiser/diffusion_pytorch_model.safetensors": UP,
            "codec/model.safetensors": DOWN,
            "codec/config.json": "{}",
        },
        {"denoiser": UP, "codec": DOWN},
    ),
    "a model above checkpoints": (
        {"model.safetensors": UP, "checkpoint-9/model.safetensors": DOWN},
        {"model": UP},
    ),
    "an adapter": (
        {"adapter_config.json": "{}", "adapter_model.safetensors": DOWN},
        {"adapter": DOWN},
    ),
}


@pytest.mark.parametrize(("files", "expected"), FOLDERS.values(), ids=FOLDERS)
def test_every_file_with_a_network_is_one_named_by_its_stem(
    files: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    report = convcore.convert(fill(tmp_path / "in", files), tmp_path / "out")

    found = written(tmp_path / "out")
    assert found.keys() == expected.keys()
    assert all(same(found[name], expected[name]) for name in expected)
    told = " ".join(report.manifest.evidence)
    passed = [name for name in files if "adam" in name or "optimizer" in name]
    assert all(name in told for name in passed)
    sidecar = tmp_path / "out/adapter_config.json"
    assert sidecar.is_file() == ("adapter_config.json" in files)


SNAPSHOTS = {
    "epochs": ["G_epoch3.pth", "G_epoch12.pth"],
    "best and last": ["best.pt", "last.pt"],
    "bare numbers of one shape": ["net-100.pt", "net-200.pt"],
    "a number beside the latest": ["10_net_G.pth", "latest_net_G.pth"],
    "checkpoint folders": ["checkpoint-5/model.safetensors", "checkpoint-10/model.safetensors"],
}


@pytest.mark.parametrize("names", SNAPSHOTS.values(), ids=SNAPSHOTS)
def test_snapshots_of_one_network_are_listed_and_one_is_chosen_by_its_name(
    names: list[str], tmp_path: Path
) -> None:
    states = {name: net(4, 2, seed=n) for n, name in enumerate(names)}
    folder = fill(tmp_path / "in", states)

    with pytest.raises(SourceError, match="2 snapshots of one network") as caught:
        convcore.convert(folder, tmp_path / "none")
    remedy = caught.value.remedy.partition("--only ")[2].partition(";")[0]
    convcore.convert(folder, tmp_path / "one", only=remedy)
    every = convcore.convert(folder, tmp_path / "all", only="*")

    (taken,) = written(tmp_path / "one").values()
    assert any(same(taken, state) for state in states.values())
    assert len(every.manifest.components) == 2


def test_snapshots_of_several_networks_are_chosen_together(tmp_path: Path) -> None:
    states = {f"{name}_epoch{n}.pth": net(4, 2, seed=n) for name in "GD" for n in (1, 2)}
    folder = fill(tmp_path / "in", states)

    with pytest.raises(SourceError, match="2 snapshots of each of 2 networks") as caught:
        convcore.convert(folder, tmp_path / "none")
    remedy = caught.value.remedy.partition("--only ")[2].partition(";")[0].strip("'")
    convcore.convert(folder, tmp_path / "out", only=remedy)

    assert list(written(tmp_path / "out")) == ["D_epoch2", "G_epoch2"]


def test_an_average_in_a_second_file_is_a_choice(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", {"body.pth": UP, "body_ema.pth": average(UP)})

    with pytest.raises(LayoutError, match="holds weights as trained"):
        convcore.convert(folder, tmp_path / "none")
    convcore.convert(folder, tmp_path / "out", weights="averaged")
    alone = convcore.convert(folder / "body.pth", tmp_path / "alone")

    assert same(written(tmp_path / "out")["model"], average(UP))
    assert "beside it lies body_ema.pth" in " ".join(alone.manifest.evidence)


def test_a_damaged_file_of_a_folder_is_not_passed_over(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", {"upper.pth": UP, "lower.pth": DOWN})
    (folder / "lower.pth").write_bytes((folder / "lower.pth").read_bytes()[:-300])

    with pytest.raises(SourceError, match=r"lower\.pth"):
        convcore.convert(folder, tmp_path / "out")


def test_one_shard_of_several_is_refused_and_may_be_taken_alone(tmp_path: Path) -> None:
    names = ["part-1.safetensors", "part-2.safetensors"]
    halves = [dict(list(UP.items())[:3]), dict(list(UP.items())[3:])]
    index = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    folder = fill(tmp_path / "in", dict(zip(names, halves, strict=True)))
    (folder / "part.safetensors.index.json").write_text(json.dumps({"weight_map": index}))

    with pytest.raises(SourceError, match="shard 2 of 2 of part") as caught:
        convcore.convert(folder / names[1], tmp_path / "none")
    convcore.convert(folder / names[1], tmp_path / "half", partial=True)
    convcore.convert(folder, tmp_path / "whole")

    assert "--partial" in caught.value.remedy
    assert same(written(tmp_path / "half")["model"], halves[1])
    assert same(written(tmp_path / "whole")["model"], UP)


def test_a_pattern_means_nothing_for_a_file_and_a_wrong_one_says_what_is_there(
    tmp_path: Path,
) -> None:
    folder = fill(tmp_path / "in", {"upper.pth": UP})

    with pytest.raises(UsageError, match="--only chooses among the files of a folder"):
        convcore.inspect(folder / "upper.pth", only="upper*")
    with pytest.raises(SourceError, match="no checkpoint file"):
        convcore.inspect(folder, only="lower*")


def test_pieces_of_tensors_are_never_taken_for_tensors(tmp_path: Path) -> None:
    whole = {"fc.weight": torch.rand(4, 3), "fc.bias": torch.rand(4)}
    for rank, rows in enumerate((slice(0, 2), slice(2, 4)), start=1):
        told = {
            name: {"saved_offsets": [rows.start] + [0] * (t.ndim - 1)} for name, t in whole.items()
        }
        save_file(
            {name: tensor[rows].clone() for name, tensor in whole.items()},
            tmp_path / f"shard-{rank:05}-model-00001-of-00001.safetensors",
            {"DCP_SHARDING_INFO": json.dumps(told), "DCP_VERSION": "1.0", "format": "pt"},
        )
    piece = tmp_path / "shard-00001-model-00001-of-00001.safetensors"

    for path in (tmp_path, piece):
        with pytest.raises(SourceError, match="holds pieces of tensors"):
            convcore.open_checkpoint(path)

    alone = convcore.open_checkpoint(piece, partial=True)
    assert alone.tensors["fc.weight"].shape == (2, 3)


def test_a_folder_of_shards_is_called_by_its_name_and_joined_by_the_remedy(tmp_path: Path) -> None:
    from torch.distributed import checkpoint

    folder, state = tmp_path / "step_10", {"fc.weight": torch.rand(4, 3)}
    checkpoint.save(state, checkpoint_id=folder, no_dist=True)

    with pytest.raises(SourceError, match=r"sharded checkpoint of torch\.distributed") as caught:
        convcore.open_checkpoint(folder)

    words = caught.value.remedy.partition(": ")[2].split()
    assert words[:2] == ["python", "-m"]
    subprocess.run([sys.executable, *words[1:]], check=True, cwd=tmp_path, capture_output=True)
    found = convcore.open_checkpoint(tmp_path / "model.pt").tensors
    assert same({name: tensor.load() for name, tensor in found.items()}, state)


def test_placeholders_of_deepspeed_in_a_folder_are_no_network(tmp_path: Path) -> None:
    whole = torch.nn.Sequential(torch.nn.Linear(3, 4), *(torch.nn.BatchNorm1d(4) for _ in range(4)))
    parameters = dict(whole.named_parameters())
    # Buffers are whole, and here they are the most; what is partitioned leaves one empty tensor.
    stored = {n: torch.empty(0) if n in parameters else t for n, t in whole.state_dict().items()}
    shapes = [{name: tensor.shape for name, tensor in parameters.items()}]
    rank = {"module": stored, "param_shapes": shapes, "ds_version": "0.19.8"}
    fill(tmp_path / "run/global_step3", {"zero_pp_rank_0_mp_rank_00_model_states.pt": rank})

    with pytest.raises(
        SourceError, match=r"DeepSpeed model-state shard: 10 of 22 tensors"
    ) as caught:
        convcore.open_checkpoint(tmp_path / "run")

    assert "zero_to_fp32.py" in caught.value.remedy


@pytest.mark.parametrize(
    "name", ["mp_rank_0{}/model_optim_rng.pt", "global_step3/mp_rank_0{}_model_states.pt",
             "model_rank{}.pt"]
)  # fmt: skip
def test_the_parts_of_several_ranks_are_no_networks(tmp_path: Path, name: str) -> None:
    parts = {name.format(rank): {"model": {"fc.weight": torch.rand(2, 3)}} for rank in (0, 1)}
    folder = fill(tmp_path / "run", parts)

    with pytest.raises(SourceError, match="the parts of 2 ranks") as caught:
        convcore.open_checkpoint(folder)
    only = caught.value.remedy.partition("--only ")[2].split()[0]
    one = convcore.open_checkpoint(folder, only=(only,))

    assert torch.equal(one.tensors["fc.weight"].load(), parts[name.format(0)]["model"]["fc.weight"])
