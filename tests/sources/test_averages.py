"""Averaged weights: every convention is found by content, and nobody's choice is made for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import convcore
from convcore.errors import LayoutError
from tests.sources.nets import average, below, momentum, net, same, written

RAW = net(4, 6, 3, norm=True)
MEAN = average(RAW)
NO_BUFFERS = {name: v for name, v in MEAN.items() if "running" not in name and "num_" not in name}
MIXED = {name: MEAN[name] if name in NO_BUFFERS else RAW[name] for name in RAW}
COUNT = torch.tensor(4)


def lightning(**entries: Any) -> dict[str, Any]:
    return {"pytorch-lightning_version": "2.5.0", "loops": {}, "callbacks": {}, **entries}


# What is saved, and the average under the names that are written.
CONVENTIONS: dict[str, tuple[Any, dict[str, torch.Tensor]]] = {
    "model_ema beside model": ({"model": RAW, "model_ema": MEAN}, MEAN),
    "ema beside model": ({"model": RAW, "ema": MEAN, "optimizer": momentum(RAW)}, MEAN),
    "params_ema": ({"params": RAW, "params_ema": MEAN}, MEAN),
    "AveragedModel beside DataParallel": (
        {"net": below("module.", RAW), "swa": {"n_averaged": COUNT, **below("module.", MEAN)}},
        MEAN,
    ),
    "a list in parameter order": (
        {
            "state_dict": RAW,
            "ema": {"decay": 0.99, "num_updates": 4, "shadow_params": list(NO_BUFFERS.values())},
        },
        MIXED,
    ),
    "ema-pytorch": (
        {
            **below("online_model.", RAW),
            **below("ema_model.", MEAN),
            "initted": torch.tensor(True),
            "step": COUNT,
        },
        MEAN,
    ),
    "WeightAveraging": (
        lightning(state_dict=MEAN, current_model_state=RAW, averaging_state={"n_averaged": COUNT}),
        MEAN,
    ),
    "a callback": (
        lightning(state_dict=RAW, callbacks={"Mean": {"ema_state_dict": MEAN}}),
        MEAN,
    ),
    "StochasticWeightAveraging": (
        lightning(
            state_dict=RAW, callbacks={"SWA": {"average_model_state": MEAN, "n_averaged": COUNT}}
        ),
        MEAN,
    ),
    "prefixes side by side": ({**below("body.", RAW), **below("body_ema.", NO_BUFFERS)}, MIXED),
    "flat keys": (
        {**RAW, **{f"ema_{name.replace('.', '_')}": v for name, v in NO_BUFFERS.items()}},
        MIXED,
    ),
    "names without dots": (
        lightning(
            state_dict={
                **below("model.", RAW),
                **{f"model_ema.{n.replace('.', '')}": v for n, v in NO_BUFFERS.items()},
                "model_ema.decay": torch.tensor(0.9),
                "model_ema.num_updates": COUNT,
            }
        ),
        MIXED,
    ),
}


@pytest.mark.parametrize(("tree", "mean"), CONVENTIONS.values(), ids=CONVENTIONS)
def test_both_sets_are_found_and_the_choice_is_the_user_s(
    tree: Any, mean: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "m.ckpt"
    torch.save(tree, path)

    with pytest.raises(LayoutError, match="holds weights as trained") as caught:
        convcore.convert(path, tmp_path / "none")
    raw = convcore.convert(path, tmp_path / "raw", weights="raw")
    convcore.convert(path, tmp_path / "auto", weights="auto")
    sets = convcore.inspect(path).document["weight_sets"]

    assert caught.value.exit_code == 4
    assert "--weights raw" in caught.value.remedy
    prefix = "body." if "body.0.weight" in tree else ""
    assert same(written(tmp_path / "raw")["model"], below(prefix, RAW))
    assert same(written(tmp_path / "auto")["model"], below(prefix, mean))
    reasons = {row.reason for row in raw.manifest.ledger if row.state == "dropped"}
    assert "--weights averaged" in reasons
    kinds = {each["kind"]: each for each in sets}
    assert kinds["averaged"]["of"] == kinds["raw"]["path"]
    assert 0.1 < kinds["averaged"]["distance"] < 2


@pytest.mark.parametrize("convention", ["ema beside model", "ema-pytorch", "prefixes side by side"])
def test_the_place_of_a_set_settles_it_too(convention: str, tmp_path: Path) -> None:
    tree, mean = CONVENTIONS[convention]
    torch.save(tree, tmp_path / "m.pt")
    (place,) = (
        each["path"]
        for each in convcore.inspect(tmp_path / "m.pt").document["weight_sets"]
        if each["kind"] == "averaged"
    )

    convcore.convert(tmp_path / "m.pt", tmp_path / "out", key=place)

    (found,) = written(tmp_path / "out").values()
    assert same({k.removeprefix("body."): v for k, v in found.items()}, mean)


def test_an_average_of_one_of_two_networks_is_written_under_that_network_s_name(
    tmp_path: Path,
) -> None:
    judge = net(3, 1)
    torch.save({"g": RAW, "d": judge, "g_ema": MEAN}, tmp_path / "m.pt")

    convcore.convert(tmp_path / "m.pt", tmp_path / "out", weights="averaged")

    found = written(tmp_path / "out")
    assert same(found["g"], MEAN)
    assert same(found["d"], judge)
    assert len(found) == 2


ALONE = {
    "AveragedModel": {"n_averaged": COUNT, **below("module.", MEAN)},
    "under a name": {"ema": MEAN, "epoch": 3},
}


@pytest.mark.parametrize("tree", ALONE.values(), ids=ALONE)
def test_an_average_alone_is_taken_and_told(tree: Any, tmp_path: Path) -> None:
    torch.save(tree, tmp_path / "m.pt")

    report = convcore.convert(tmp_path / "m.pt", tmp_path / "out")
    with pytest.raises(LayoutError, match="there are no raw weights"):
        convcore.convert(tmp_path / "m.pt", tmp_path / "raw", weights="raw")

    assert same(written(tmp_path / "out")["model"], MEAN)
    assert "is an average of weights" in " ".join(report.manifest.evidence)


def test_an_average_that_is_asked_for_and_not_there_is_an_error(tmp_path: Path) -> None:
    torch.save({"actor": RAW, "actor_target": MEAN}, tmp_path / "m.pt")

    with pytest.raises(LayoutError, match="there are no averaged weights") as caught:
        convcore.convert(tmp_path / "m.pt", tmp_path / "out", weights="averaged")

    assert "actor" in caught.value.seen[0]


def test_sets_that_are_equal_are_one_and_told(tmp_path: Path) -> None:
    torch.save({"model": RAW, "ema": {n: v.clone() for n, v in RAW.items()}}, tmp_path / "m.pt")

    report = convcore.convert(tmp_path / "m.pt", tmp_path / "out")

    assert same(written(tmp_path / "out")["model"], RAW)
    assert "equals the trained weights byte for byte" in " ".join(report.manifest.evidence)


TWO_WAYS = {
    "two networks of one shape": {
        "a": net(4, 4), "b": net(4, 4, seed=1), "shadow_params": list(average(net(4, 4)).values())
    },
    "fewer than the parameters": {
        "model": net(3, 3, 3, 3), "shadow_params": list(average(net(3, 3, 3)).values())
    },
}  # fmt: skip


@pytest.mark.parametrize("tree", TWO_WAYS.values(), ids=TWO_WAYS)
def test_a_list_that_fits_in_two_ways_is_not_guessed(tree: Any, tmp_path: Path) -> None:
    torch.save(tree, tmp_path / "m.pt")

    with pytest.raises(LayoutError, match="the average shadow_params fits") as caught:
        convcore.convert(tmp_path / "m.pt", tmp_path / "out", weights="averaged")

    assert caught.value.exit_code == 4


def test_a_codebook_s_running_averages_are_buffers_of_their_network(tmp_path: Path) -> None:
    state = {**RAW, "book.embed": torch.rand(4, 2), "book.embed_avg": torch.rand(4, 2),
             "book.ema_cluster_size": torch.rand(4)}  # fmt: skip
    torch.save(state, tmp_path / "m.pt")

    convcore.convert(tmp_path / "m.pt", tmp_path / "out")

    assert same(written(tmp_path / "out")["model"], state)
