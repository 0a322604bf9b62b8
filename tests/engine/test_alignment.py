"""Renamings that are found: torch's strict loading takes what they write, or is told why not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import convcore
from convcore.cli.commands import main
from convcore.errors import TargetError, UsageError

Layer = Callable[[], nn.Module]
Row = tuple[str, str, Layer]


def linear(a: int, b: int, **options: Any) -> Layer:
    return lambda: nn.Linear(a, b, **options)


def norm(size: int) -> Layer:
    return lambda: nn.BatchNorm1d(size)


class Scaled(nn.Module):
    """A layer norm as TensorFlow names its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))


def built(layers: Mapping[str, nn.Module]) -> nn.Module:
    """A module with these at these places."""
    top = nn.Module()
    for path, layer in layers.items():
        *homes, last = path.split(".")
        place = top
        for home in homes:
            if not hasattr(place, home):
                place.add_module(home, nn.Module())
            place = getattr(place, home)
        place.add_module(last, layer)
    for number, tensor in enumerate(top.state_dict().values()):
        tensor.copy_(torch.full(tensor.shape, float(number)))
    return top


def rows(old: str, new: str, layer: Layer, count: int = 1, start: int = 0) -> list[Row]:
    """``#`` is an index from 0 in the first and from ``start`` in the second."""
    return [
        (old.replace("#", str(n)), new.replace("#", str(n + start)), layer) for n in range(count)
    ]


def bert(old: str, new: str) -> list[Row]:
    parts = (
        ("attention.self.query", "attn.q_proj", linear(6, 6)),
        ("attention.self.key", "attn.k_proj", linear(6, 6)),
        ("attention.self.value", "attn.v_proj", linear(6, 6)),
        ("attention.output.dense", "attn.out_proj", linear(6, 6)),
        ("attention.output.LayerNorm", "norm1", lambda: nn.LayerNorm(6)),
        ("intermediate.dense", "mlp.fc1", linear(6, 9)),
        ("output.dense", "mlp.fc2", linear(9, 6)),
        ("output.LayerNorm", "norm2", lambda: nn.LayerNorm(6)),
    )
    return [(f"{old}.{n}.{a}", f"{new}.{n}.{b}", layer) for n in range(3) for a, b, layer in parts]


def conv() -> nn.Module:
    return nn.Conv1d(4, 6, 3)


def old_norm() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(conv())


def new_norm() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(conv())


COMPLETE: dict[str, list[Row]] = {
    "a module renamed": [*rows("encoder.#", "encoder.#", linear(6, 6), 2),
                         ("fc", "classifier", linear(6, 3))],
    "two modules renamed": [("enc", "encoder", linear(4, 6)), ("dec", "decoder", linear(6, 4))],
    "a wrapper added": rows("layers.#", "net.layers.#", linear(5, 5), 3),
    "a wrapper taken off": rows("backbone.layers.#", "layers.#", linear(5, 5), 3),
    "the author's model. added": rows("block.#", "model.block.#", linear(5, 5), 2),
    "the author's model. taken off": rows("model.block.#", "block.#", linear(5, 5), 2),
    "one wrapper for another": rows("student.net.#", "teacher.body.#", linear(5, 5), 3),
    "a part taken out of a wrapper": [("net.stem", "stem", linear(4, 5)),
                                      ("net.head", "net.head", linear(5, 2))],
    "indices moved by one": rows("layers.#", "layers.#", linear(5, 5), 4, 1),
    "indices of a sequence moved": [
        ("net.0", "net.1", linear(4, 6)), ("net.2", "net.3", linear(6, 6)),
        ("net.4", "net.5", linear(6, 2)),
    ],
    "gaps between indices closed": [
        ("net.0", "net.0", linear(6, 6)), ("net.2", "net.1", linear(6, 6)),
        ("net.4", "net.2", linear(6, 6)),
    ],
    "a sequence becomes attributes": [("0", "fc_in", linear(4, 6)), ("2", "fc_mid", linear(6, 6)),
                                      ("4", "fc_out", linear(6, 2))],
    "attributes become a sequence": [("fc1", "net.0", linear(6, 6)), ("fc2", "net.2", linear(6, 6)),
                                     ("fc3", "net.4", linear(6, 6))],
    "bert's names": bert("bert.encoder.layer", "blocks"),
    "bert's names, wrapped": [
        ("bert.embeddings.word_embeddings", "model.tok", lambda: nn.Embedding(7, 6)),
        *bert("bert.encoder.layer", "model.blocks"),
    ],
    "a residual network": [
        *rows("layer1.#.conv1", "stages.0.#.conv_a", conv, 2),
        *rows("layer1.#.bn1", "stages.0.#.norm_a", norm(6), 2),
        *rows("layer1.#.downsample.0", "stages.0.#.shortcut.conv", lambda: nn.Conv1d(4, 6, 1), 2),
        *rows("layer1.#.downsample.1", "stages.0.#.shortcut.norm", norm(6), 2),
    ],
    "camel case to underscores": [("selfAttn.outProj", "self_attn.out_proj", linear(6, 6)),
                                  ("feedForward.inProj", "feed_forward.in_proj", linear(6, 6))],
    "numbers become places": [
        *rows("conv#", "convs.#", conv, 3), *rows("norm#", "norms.#", norm(6), 3),
    ],
    "a recurrent network": [
        ("rnn", "lstm", lambda: nn.LSTM(4, 6, 2)), ("out", "proj", linear(6, 4)),
    ],
    "experts": [(f"moe.experts.{n}.w{k}", f"ffn.expert.{n}.fc{k}", linear(5, 5))
                for n in range(3) for k in (1, 2)],
    "batch norms renamed": rows("bn.#", "norms.#", norm(5), 3),
    "wrapper, rename and moved indices at once": [
        ("features.stem", "backbone.stem", conv),
        *rows("features.layers.#.lin", "backbone.blocks.#.linear", linear(6, 6), 3, 1),
        ("fc", "head", linear(6, 3)),
    ],
}  # fmt: skip


def sides(pairs: list[Row]) -> tuple[nn.Module, nn.Module, dict[str, torch.Tensor]]:
    """Both modules, and what the second is to hold in the end."""
    made = [(old, new, layer()) for old, new, layer in pairs]
    one = built({old: layer for old, _, layer in made})
    other = built({new: layer() for _, new, layer in pairs})
    truth = {
        f"{new}.{name}": tensor
        for _, new, layer in made
        for name, tensor in layer.state_dict().items()
    }
    return one, other, truth


def told(form: str, other: nn.Module, state: Mapping[str, Any], folder: Path) -> Path:
    """What the second wants, as a file, a list or the message of a failed loading."""
    if form == "file":
        torch.save(other.state_dict(), folder / "other.pt")
        return folder / "other.pt"
    if form == "list":
        shapes = {name: list(tensor.shape) for name, tensor in other.state_dict().items()}
        (folder / "names.json").write_text(json.dumps(shapes))
        return folder / "names.json"
    with pytest.raises(RuntimeError) as caught:
        other.load_state_dict(dict(state))
    (folder / "message.txt").write_text(f"Traceback …\nRuntimeError: {caught.value}\n")
    return folder / "message.txt"


def loaded(other: nn.Module, state: Any, found: dict, folder: Path) -> dict[str, torch.Tensor]:
    """What torch's strict loading takes of the file that is written with the rules."""
    torch.save(state, folder / "model.pt")
    rules = folder / "rules.toml"
    convcore.convert(folder / "model.pt", folder / "out", "state-dict", rename=str(rules))
    other.load_state_dict(torch.load(folder / "out/state_dict.pth", weights_only=True), strict=True)
    return other.state_dict()


def align(state: Any, wanted: Path, folder: Path) -> dict[str, Any]:
    torch.save(state, folder / "model.pt")
    return convcore.diff(folder / "model.pt", wanted, align=True, write=folder / "rules.toml")


@pytest.mark.parametrize("form", ["file", "list", "message"])
@pytest.mark.parametrize("pairs", COMPLETE.values(), ids=COMPLETE.keys())
def test_torch_takes_what_the_renamings_write(pairs: list[Row], form: str, tmp_path: Path) -> None:
    one, other, truth = sides(pairs)
    state = one.state_dict()

    found = align(state, told(form, other, state, tmp_path), tmp_path)
    taken = loaded(other, state, found, tmp_path)

    assert found["complete"]
    assert found["unmatched"] == {"first": [], "second": []}
    assert {name for name in truth if not torch.equal(taken[name], truth[name])} == set()


def attention(name: str) -> dict[str, nn.Module]:
    return {f"{name}.{part}_proj": nn.Linear(6, 6) for part in "qkv"}


class Transposed(nn.Module):
    """A linear layer as GPT-2 stores it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(4, 6)), nn.Parameter(torch.ones(6))


def body(name: str) -> dict[str, nn.Module]:
    return {f"{name}.{n}": nn.Linear(6, 6) for n in range(2)}


OBSTACLES: dict[str, tuple[dict[str, nn.Module], dict[str, nn.Module], str, str]] = {
    "a head of another size": (
        {**body("body"), "fc": nn.Linear(6, 9)}, {**body("blocks"), "fc": nn.Linear(6, 2)},
        "fc.weight", r"fc.weight is \[9, 6\] in the first and \[2, 6\] in the second: .* a head",
    ),
    "a head under another name": (
        {**body("body"), "fc": nn.Linear(6, 9)}, {**body("blocks"), "head": nn.Linear(6, 2)},
        "head.weight", r"fc.weight is \[9, 6\] in the first and \[2, 6\] .* a head",
    ),
    "projections fused": (
        attention("attn"), {"attn.qkv": nn.Linear(6, 18)},
        "attn.qkv.weight", r"attn.qkv.weight \[18, 6\] of the second is attn.q_proj.weight,.* QKV",
    ),
    "projections taken apart": (
        {"attn.in_proj": nn.Linear(6, 18)}, attention("attn"),
        "attn.k_proj.bias", r"attn.in_proj.bias \[18\] of the first is .* of the second in one",
    ),
    "a layer more": (
        body("body"), {**body("blocks"), "blocks.2": nn.Linear(6, 6)},
        "blocks.2.weight", "only its name comes near|nothing is like it",
    ),
    "transposed": (
        {"mlp": Transposed()}, {"mlp": nn.Linear(4, 6)},
        "mlp.weight", r"mlp.weight is \[4, 6\] in the first and \[6, 4\] in the second: transposed",
    ),
    "weight norm on one side": (
        {"conv": new_norm()}, {"conv": conv()}, "conv.weight", "weight norm is on in the first",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("one", "other", "key", "why"), OBSTACLES.values(), ids=OBSTACLES.keys())
def test_what_no_renaming_gives_is_said_with_the_reason(
    one: dict[str, nn.Module], other: dict[str, nn.Module], key: str, why: str, tmp_path: Path
) -> None:
    torch.save(built(one).state_dict(), tmp_path / "a.pt")
    torch.save(built(other).state_dict(), tmp_path / "b.pt")

    found = convcore.diff(tmp_path / "a.pt", tmp_path / "b.pt", align=True)

    assert not found["complete"]
    (row,) = [row for row in found["unmatched"]["second"] if row["name"] == key]
    assert re.search(why, row["why"])


WEIGHT_NORM = {
    "to parametrizations": (old_norm, new_norm),
    "from parametrizations": (new_norm, old_norm),
}


@pytest.mark.parametrize(("old", "new"), WEIGHT_NORM.values(), ids=WEIGHT_NORM.keys())
def test_weight_norm_is_respelt_beside_a_renaming(old: Layer, new: Layer, tmp_path: Path) -> None:
    one, other = (
        built({"conv": old(), "fc": nn.Linear(2, 2)}),
        built({"stem": new(), "fc": nn.Linear(2, 2)}),
    )

    found = align(one.state_dict(), told("file", other, {}, tmp_path), tmp_path)
    taken = loaded(other, one.state_dict(), found, tmp_path)

    assert found["weight_norm"]
    values = zip(sorted(taken), sorted(one.state_dict()), strict=True)
    assert len(list(values)) == 5
    assert "weight-norm = true" in (tmp_path / "rules.toml").read_text()


def test_counters_that_a_file_lacks_are_no_obstacle_to_torch(tmp_path: Path) -> None:
    one, other, truth = sides(rows("bn.#", "norm.#", norm(5), 2))
    state = {k: v for k, v in one.state_dict().items() if "tracked" not in k}

    found = align(state, told("list", other, state, tmp_path), tmp_path)
    taken = loaded(other, state, found, tmp_path)

    assert all("counter of batch norm" in row["why"] for row in found["unmatched"]["second"])
    assert all(torch.equal(taken[k], v) for k, v in truth.items() if "tracked" not in k)


def test_twins_that_nothing_tells_apart_are_not_certain(tmp_path: Path) -> None:
    one = {name: torch.rand(3, 3) for name in ("a.weight", "b.weight", "c.weight")}
    wanted = {"u.weight": [3, 3], "v.weight": [3, 3]}
    (tmp_path / "names.json").write_text(json.dumps(wanted))

    found = align(one, tmp_path / "names.json", tmp_path)

    assert [pair["certain"] for pair in found["pairs"]] == [False, False]
    assert "# Not certain: a.weight to u.weight" in (tmp_path / "rules.toml").read_text()


def test_keys_that_fit_need_no_renaming(tmp_path: Path) -> None:
    state = {"module.model.a.weight": torch.rand(2)}
    torch.save({"model.a.weight": torch.rand(2)}, tmp_path / "b.pt")
    torch.save(state, tmp_path / "a.pt")

    found = convcore.diff(tmp_path / "a.pt", tmp_path / "b.pt", align=True)

    assert (found["fits_already"], found["rules"]) == (True, [])


def test_scipy_is_asked_for_in_one_sentence(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)

    with pytest.raises(TargetError, match="diff --align needs scipy") as caught:
        convcore.diff(tmp_path, tmp_path, align=True)

    assert caught.value.remedy.replace("'", "").startswith("pip install scipy")


FAULTS = {
    "no shapes": ("names.json", '{"a": "b"}', "is no list of names and shapes"),
    "a name twice": ("names.json", '[["a", [1]], ["a", [1]]]', "is no list of names and shapes"),
    "no message": ("log.txt", "all went well", "holds no message of load_state_dict"),
}


@pytest.mark.parametrize(("name", "text", "what"), FAULTS.values(), ids=FAULTS.keys())
def test_a_list_or_message_at_fault_is_told(
    name: str, text: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(UsageError, match=what):
        align({"a": torch.rand(1)}, tmp_path / name, tmp_path)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("mine")
    (tmp_path / "names.json").write_text('{"b.weight": [2]}')

    with pytest.raises(UsageError, match="is there already"):
        align({"a.weight": torch.rand(2)}, tmp_path / "names.json", tmp_path)

    assert (tmp_path / "rules.toml").read_text() == "mine"


def test_people_read_the_rules_and_what_is_left(tmp_path: Path) -> None:
    torch.save(built({**body("body"), "fc": nn.Linear(6, 9)}).state_dict(), tmp_path / "a.pt")
    torch.save(built({**body("blocks"), "fc": nn.Linear(6, 2)}).state_dict(), tmp_path / "b.pt")

    words = ["diff", str(tmp_path / "a.pt"), str(tmp_path / "b.pt"), "--align"]
    said = CliRunner().invoke(main, words).output

    assert "2 keys of the second missing: 1 renaming for 4 keys" in said
    assert re.search(r"body\.\*\s+blocks\.\*\s+4", said)
    assert "another number of outputs, as of a head that was replaced" in said


OPTIONS = {
    "writing without finding": (["--write", "x.toml"], ["--align", "--write", "x.toml"]),
    "finding with renaming": (["--align", "--rename", "b.=c."], ["--align"]),
}


@pytest.mark.parametrize(("typed", "remedied"), OPTIONS.values(), ids=OPTIONS.keys())
def test_options_that_would_be_passed_over_are_refused_with_a_remedy_that_works(
    typed: list[str], remedied: list[str], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        torch.save(built({name: nn.Linear(2, 3)}).state_dict(), f"{name}.pt")

    wrong = CliRunner().invoke(main, ["diff", "a.pt", "b.pt", *typed], standalone_mode=False)
    right = CliRunner().invoke(main, ["diff", "a.pt", "b.pt", *remedied])

    assert isinstance(wrong.exception, UsageError)
    assert right.exit_code == 0
    assert "complete: 1 renaming for 2 keys" in right.output
