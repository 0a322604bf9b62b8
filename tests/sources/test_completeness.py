"""Every tensor that a file holds has a row in the ledger: an independent reader counts them."""

from __future__ import annotations

import argparse
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import convcore
from convcore.errors import ConvcoreError
from tests.conftest import ROOT
from tests.sources.nets import average, momentum, net
from tests.sources.recount import count_file

HERE = ROOT / "tests" / "data"
ENDINGS = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".safetensors")
FILES = {
    str(path.relative_to(ROOT)): path
    for folder in (HERE, ROOT / "examples")
    for path in sorted(folder.rglob("*"))
    if path.name.endswith(ENDINGS) and path.is_file()
}


def rows(path: Path, out: Path, **options: Any) -> tuple[list[str], list[str]]:
    """Names in the ledger of what a conversion wrote or left, and of entries without bytes."""
    try:
        report = convcore.convert(path, out, **options)
    except ConvcoreError:  # some of it fits a layout nearly; that it is one network is enough here
        report = convcore.convert(path, out, layout="plain", **options)
    entries = [row for row in report.manifest.ledger if row.tensor is not None]
    without = [row.tensor for row in entries if (row.reason or "").endswith("not a tensor")]
    return [row.tensor for row in entries if row.tensor not in without], without


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_the_ledger_of_a_real_file_has_a_row_for_each_of_its_tensors(
    path: Path, tmp_path: Path
) -> None:
    held, _ = rows(path, tmp_path / "out")

    assert len(held) == count_file(path)
    assert len(set(held)) == len(held)


class Block(nn.Module):
    """A module with tensors where its state dict has none."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("hidden", torch.rand(3), persistent=False)
        self.register_buffer("absent", None)
        self.scale = torch.rand(4)
        self.cache = {"keys": [torch.rand(1), torch.rand(2)], "nothing": None}
        self.inner[0].mask = (torch.ones(2), torch.zeros(2))
        self.again = self.inner[0].weight


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 3)
        self.decoder = nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight
        self.same = self.encoder


class Extra(nn.Module):
    def __init__(self, extra: object) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.extra = extra

    def get_extra_state(self) -> object:
        return self.extra


class Learner:
    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


def attached() -> torch.Tensor:
    tensor = torch.rand(3, 2)
    tensor.history = [torch.rand(1), {"mean": torch.rand(2)}]  # type: ignore[attr-defined]
    return tensor


def parameter() -> nn.Parameter:
    found = nn.Parameter(torch.rand(3, 2))
    found.momentum = torch.rand(3)  # type: ignore[attr-defined]
    return found


def itself() -> dict[str, Any]:
    tree: dict[str, Any] = {"model": net(3, 2), "more": [torch.rand(2)]}
    tree["more"].append(tree)
    return tree


SHARED = net(4, 3)
TREES: dict[str, Any] = {
    "whole module": Block(),
    "whole module with ties": Tied(),
    "modules in a dictionary": {"gen": Block(), "crit": [Tied(), nn.Linear(2, 2)], "epoch": 3},
    "tied entries": {"a": SHARED, "b": SHARED, "c": {**SHARED, "x.weight": SHARED["0.weight"]}},
    "extra state that is a tensor": Extra(torch.rand(3)).state_dict(),
    "extra state with tensors": Extra({"amax": torch.rand(2), "n": 3}).state_dict(),
    "extra state without bytes": Extra({"n": 3}).state_dict(),
    "module with extra state": Extra({"amax": torch.rand(2)}),
    "tensors attached to tensors": {"fc.weight": attached(), "fc.bias": torch.rand(3)},
    "tensors attached to a parameter": {"fc.weight": parameter(), "fc.bias": torch.rand(3)},
    "objects": {"model": net(5, 4, 3), "learner": Learner(buffer=torch.rand(2), deep=[net(2, 2)])},
    "an object in an object": Learner(inner=Learner(model=nn.Linear(3, 2)), noise=torch.rand(2)),
    "lists": [net(3, 2), [net(2, 3), torch.rand(2)], (torch.rand(1),)],
    "hyper-parameters": {
        "state_dict": net(3, 2),
        "hyper_parameters": {"pos_weight": torch.rand(2), "args": argparse.Namespace(w=SHARED)},
    },
    "training": {
        "model": net(3, 2),
        "optimizer": momentum(net(3, 2)),
        "rng": [torch.get_rng_state()],
        "loss": torch.tensor(0.5),
        "replay_buffer": {"obs": torch.rand(9, 2)},
        "scheduler": {"base_lrs": [torch.tensor(0.1)], "last_epoch": 1},
    },
    "an average": {"model": SHARED, "ema": {"shadow": average(SHARED), "n": torch.tensor(3)}},
    "an average as a list": {"model": SHARED, "ema": [*average(SHARED).values()], "decay": 0.9},
    "sibling averages": {
        **{f"net.{k}": v for k, v in SHARED.items()},
        **{f"net_ema.{k}": v for k, v in average(SHARED).items()},
        "steps": torch.tensor(2),
    },
    "statistics": {
        "policy": net(3, 2),
        "obs_rms": {"mean": torch.rand(3), "count": torch.ones(())},
    },
    "names that spell one place": {"a.b": torch.rand(2), "a": {"b": torch.rand(3)}, "c": net(2, 2)},
    "numbers and tuples as keys": {0: net(3, 2), ("a", 1): net(2, 3), None: torch.rand(1)},
    "bare storages": {"fc.weight": torch.rand(3, 2), "raw": torch.rand(3).untyped_storage()},
    "contains itself": itself(),
    "empty tensors": {"fc.weight": torch.rand(0, 3), "fc.bias": torch.rand(0)},
    "a bare tensor": torch.rand(3, 2),
    "ordered with metadata": OrderedDict(Block().state_dict()),
    "layer by layer": {"conv1": {"weight": torch.rand(2, 2)}, "conv2": {"weight": torch.rand(2)}},
    "recurrent module": nn.LSTM(3, 4),
    "weight norm": nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)).state_dict(),
    "module lists": nn.ModuleDict(
        {"a": nn.ModuleList([Block(), Block()]), "p": nn.ParameterList([torch.rand(2)])}
    ),
    "grads kept": {"model": net(3, 2), "grads": [torch.rand(3), torch.rand(2)]},
}


@pytest.fixture(autouse=True)
def _strange() -> Iterator[None]:
    """Pickle the classes of this file as somebody's whose code is not there."""
    module = types.ModuleType("somebody")
    kinds = (Block, Tied, Extra, Learner)
    homes = [kind.__module__ for kind in kinds]
    for kind in kinds:
        setattr(module, kind.__name__, kind)
        kind.__module__ = "somebody"
    sys.modules["somebody"] = module
    yield
    del sys.modules["somebody"]
    for kind, home in zip(kinds, homes, strict=True):
        kind.__module__ = home


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", TREES)
def test_the_ledger_has_a_row_for_each_tensor_that_the_opcodes_show(
    name: str, legacy: bool, tmp_path: Path
) -> None:
    torch.save(TREES[name], tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)

    options = {"weights": "raw"} if "average" in name else {}
    held, _ = rows(tmp_path / "m.pt", tmp_path / "out", **options)

    assert len(held) == count_file(tmp_path / "m.pt"), held
    assert len(set(held)) == len(held)


def test_entries_without_bytes_have_rows_of_their_own(tmp_path: Path) -> None:
    torch.save(Extra({"n": 3}).state_dict(), tmp_path / "m.pt")

    held, without = rows(tmp_path / "m.pt", tmp_path / "out")

    assert (held, without) == (["fc.weight", "fc.bias"], ["_extra_state"])


def test_every_row_of_places_that_are_spelt_alike_is_verified(tmp_path: Path) -> None:
    tree = {"a": {"b": net(3, 2)}, "a.b": net(2, 3), "c": {**net(2, 2), "x.y": torch.rand(1)}}
    torch.save(tree, tmp_path / "m.pt")

    convcore.convert(tmp_path / "m.pt", tmp_path / "out")

    assert [check for check in convcore.verify(tmp_path / "out") if not check.passed] == []


def test_the_ledger_of_a_folder_counts_what_its_files_hold(tmp_path: Path) -> None:
    home = tmp_path / "run"
    home.mkdir()
    torch.save({"model": Block(), "epoch": 3}, home / "upper.pth")
    torch.save({**net(3, 2), "extra.weight": attached()}, home / "lower.pt")
    torch.save(momentum(net(3, 2)), home / "optimizer.pt")

    held, _ = rows(home, tmp_path / "out")

    assert len(held) == sum(map(count_file, home.iterdir()))
