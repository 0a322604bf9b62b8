"""How weights lie in files that no framework wrapped: where they are found, and what is said."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from convcore.errors import SourceError, UsageError
from convcore.formats import walk_tensors
from convcore.host.registry import load_registry
from convcore.sources.reading import read_checkpoint

W, B = torch.arange(6.0).reshape(2, 3), torch.ones(2)
STATE = {"fc.weight": W, "fc.bias": B}
ADAM = {"state": {0: {"exp_avg": W * 0, "step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in STATE.items()}


FOUND = {
    "bare": STATE,
    "an ordered dict": OrderedDict(STATE),
    "under state_dict": {"state_dict": STATE, "epoch": 3},
    "under model_state_dict": {"model_state_dict": STATE, "optimizer_state_dict": ADAM},
    "under model beside an optimizer": {"model": STATE, "optimizer": ADAM},
    "under a name nobody knows": {"my_weights": STATE, "epoch": 3},
    "beside figures of training": {"state_dict": STATE, "metrics": {"acc": B}, "best_loss": B},
    "wrapped twice": {"checkpoint": {"model": STATE}, "epoch": 1},
    "in a tuple with an optimizer": (STATE, ADAM),
    "a whole module's state beside text": {**STATE, "version": "1"},
    "DataParallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "fabric around compile around DataParallel": prefixed("_forward_module._orig_mod.module."),
    "below model": {"state_dict": prefixed("model.")},
}


def read(tree: object, folder: Path, **options: str):
    torch.save(tree, folder / "m.pt")
    return read_checkpoint(folder / "m.pt", load_registry(), **options)


@pytest.mark.parametrize("tree", FOUND.values(), ids=FOUND.keys())
def test_the_state_dict_is_found_wherever_it_lies(tree: object, tmp_path: Path) -> None:
    checkpoint = read(tree, tmp_path)

    assert list(checkpoint.tensors) == list(STATE)
    assert all(torch.equal(checkpoint.tensors[name].load(), STATE[name]) for name in STATE)


def test_a_stripped_prefix_is_said_and_remembered(tmp_path: Path) -> None:
    checkpoint = read(prefixed("module.model."), tmp_path)

    assert any("'module.model.'" in sentence for sentence in checkpoint.evidence)
    assert checkpoint.original("fc.weight") == "module.model.fc.weight"


def test_a_prefix_that_one_key_lacks_stays(tmp_path: Path) -> None:
    checkpoint = read({**prefixed("module."), "scale": B}, tmp_path)

    assert list(checkpoint.tensors) == ["module.fc.weight", "module.fc.bias", "scale"]


def test_compile_inside_a_model_is_removed_there(tmp_path: Path) -> None:
    checkpoint = read({"enc._orig_mod.w": W, "dec.w": B}, tmp_path)

    assert list(checkpoint.tensors) == ["enc.w", "dec.w"]
    assert checkpoint.original("enc.w") == "enc._orig_mod.w"


def test_one_of_several_networks_is_taken_by_its_key(tmp_path: Path) -> None:
    tree = {"netG": STATE, "netD": STATE}

    both = read(tree, tmp_path)
    chosen = read(tree, tmp_path, key="netD")

    assert list(both.tensors) == [f"{net}.{name}" for net in tree for name in STATE]
    assert list(chosen.tensors) == list(STATE)
    assert [name for name, _ in walk_tensors(chosen.rest)] == [f"netG.{name}" for name in STATE]


def test_a_key_that_leads_nowhere_names_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing at --key netX") as caught:
        read({"netG": STATE, "netD": STATE}, tmp_path, key="netX")

    assert "netG" in caught.value.seen[0]


def test_a_key_may_hold_dots(tmp_path: Path) -> None:
    checkpoint = read({"a.b": {"c": STATE}, "d": STATE}, tmp_path, key="a.b.c")

    assert list(checkpoint.tensors) == list(STATE)


BESIDE = {
    "chosen by --key": ({"model": STATE, "ema": STATE, "config": {"heads": 2}}, "ema"),
    "wrapped twice": (
        {"checkpoint": {"model": STATE, "opt": {"m": B}}, "config": {"heads": 2}},
        None,
    ),
    "in a state dict's extra state": (
        {"state_dict": {**STATE, "fc._extra_state": {"scale": B}}, "config": {"heads": 2}},
        None,
    ),
}
LEFT = {
    "chosen by --key": ["model.fc.weight", "model.fc.bias"],
    "wrapped twice": ["checkpoint.opt.m"],
    "in a state dict's extra state": ["state_dict.fc._extra_state.scale"],
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_is_not_chosen_is_kept_beside_for_the_ledger(case: str, tmp_path: Path) -> None:
    tree, key = BESIDE[case]

    checkpoint = read(tree, tmp_path, **({} if key is None else {"key": key}))

    assert list(checkpoint.tensors) == list(STATE)
    assert [name for name, _ in walk_tensors(checkpoint.rest)] == LEFT[case]
    assert checkpoint.hyper_parameters == {"heads": 2}


def test_a_list_of_tensors_is_named_by_place(tmp_path: Path) -> None:
    assert list(read([W, "text", B], tmp_path).tensors) == ["0", "2"]


def test_keys_that_are_no_text_are_taken_and_told_once(tmp_path: Path) -> None:
    tree = {None: W, b"x": W, ("a", 1): W, 3: B, "fc.weight": W, "replay": {7: B}}

    checkpoint = read(tree, tmp_path)

    assert list(checkpoint.tensors) == ["None", "b'x'", "('a', 1)", "3", "fc.weight"]
    assert checkpoint.evidence == (
        "bare state dict",
        "4 keys of type NoneType, bytes, int, tuple became text: None, b'x', ('a', 1), 3",
        "beside the state dict, and not taken: replay (1 tensor)",
    )
    # The ledger drops what lies beside, and nothing of what was written.
    assert [name for name, _ in walk_tensors(checkpoint.rest)] == ["replay.7"]


def test_arrays_are_tensors_too(tmp_path: Path) -> None:
    checkpoint = read({"w": np.arange(3, dtype=np.int16), "b": np.ones((2, 2))}, tmp_path)

    assert {n: (t.dtype, t.shape) for n, t in checkpoint.tensors.items()} == {
        "w": ("int16", (3,)),
        "b": ("float64", (2, 2)),
    }


def test_a_whole_module_is_walked_without_its_class(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))

    checkpoint = read(module, tmp_path)

    expected = module.state_dict()
    assert list(checkpoint.tensors) == list(expected)
    assert all(torch.equal(checkpoint.tensors[k].load(), expected[k]) for k in expected)


def test_a_file_without_weights_says_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no state dict") as caught:
        read({"epoch": 3, "note": "hello"}, tmp_path)

    assert "epoch, note" in caught.value.seen[1]
    assert "--key" not in caught.value.remedy


WEIGHTS = {"0.weight": torch.ones(2, 3), "0.bias": torch.zeros(2)}
LOOSE = {name: torch.ones(3) for name in ("mean", "std", "floor")}


@pytest.mark.parametrize(
    ("saved", "key", "statistics"),
    [
        ({"model_state_dict": WEIGHTS, **LOOSE}, "model_state_dict", list(LOOSE)),
        ({"state_dict": {"w": torch.ones(1)}, **LOOSE}, "state_dict", list(LOOSE)),
        ({"model": torch.nn.Linear(3, 2), "mean": torch.ones(3)}, "model", ["mean"]),
        ((torch.ones(3), WEIGHTS), "1", ["0"]),
        ({"generator": WEIGHTS, "sample": {"x": torch.ones(1)}}, "generator", []),
    ],
    ids=["canonical", "canonical-smaller", "module", "tuple", "samples"],
)
def test_the_model_is_taken_and_what_lies_beside_it_is_named(
    saved: object, key: str, statistics: list[str], tmp_path: Path
) -> None:
    found = read(saved, tmp_path)

    inner = saved[int(key) if key.isdigit() else key]  # type: ignore[index]
    inner = inner.state_dict() if isinstance(inner, torch.nn.Module) else inner
    assert list(found.networks["model"]) == list(inner)
    assert list(found.networks.get("statistics", ())) == statistics
    assert found.evidence[0].endswith(f"under {key!r}")
    others = [str(k) for k in (saved if isinstance(saved, dict) else range(2)) if str(k) != key]
    assert all(other in " ".join(found.evidence[1:]) for other in others)
