"""Tensors under other names: torch's own modules take what ``--rename`` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import convcore
from convcore.cli.commands import main
from convcore.engine.audit.verify import verify
from convcore.errors import UsageError
from convcore.host.registry import load_registry
from tests.sources.nets import below, net, same

BODY = {"conv.weight": torch.rand(2, 3), "conv.bias": torch.rand(2), "fc.weight": torch.rand(4, 2)}
INDEXED = {f"layers.{n}.weight": torch.full((2,), float(n)) for n in range(3)}


def saved(state: object, folder: Path) -> Path:
    torch.save(state, folder / "model.pt")
    return folder / "model.pt"


def renamed(state: object, folder: Path, *rules: str, to: str = "state-dict") -> dict:
    """What torch reads of the file that a conversion with these rules writes."""
    convcore.convert(saved(state, folder), folder / "out", to, rename=rules)
    (file,) = (folder / "out").glob("*.pth")
    return torch.load(file, weights_only=True)


RULES = {
    "one name": (BODY, ["fc.weight=head.weight"], ["conv.weight", "conv.bias", "head.weight"]),
    "a prefix": (BODY, ["conv.=stem.0."], ["stem.0.weight", "stem.0.bias", "fc.weight"]),
    "a prefix taken off": (below("net.", BODY), ["net.="], [*BODY]),
    "a prefix put on": (BODY, ["*=model.*"], [f"model.{name}" for name in BODY]),
    "two stars in their order": (
        {"enc.0.attn.q.weight": torch.rand(2)}, ["enc.*.attn.*=blocks.*.self.*"],
        ["blocks.0.self.q.weight"],
    ),
    "a star takes as little as it can": (
        {"a.b.c.b.d": torch.rand(2)}, ["*.b.*=*.x.*"], ["a.x.c.b.d"],
    ),
    "a star is no part of a regular expression": (
        {"a+b.weight": torch.rand(2), "aab.weight": torch.rand(1)}, ["a+b.*=c.*"],
        ["c.weight", "aab.weight"],
    ),
    "indices moved by one": (
        INDEXED, ["layers.0.*=layers.1.*", "layers.1.*=layers.2.*", "layers.2.*=layers.3.*"],
        [f"layers.{n}.weight" for n in (1, 2, 3)],
    ),
    "names exchanged": (
        INDEXED, ["layers.0.*=layers.1.*", "layers.1.*=layers.0.*"],
        [f"layers.{n}.weight" for n in (1, 0, 2)],
    ),
    "the first that fits": (
        BODY, ["conv.bias=shift", "conv.*=stem.*"], ["stem.weight", "shift", "fc.weight"],
    ),
    "a wrapper that may be the author's": (
        below("model.", BODY), ["model.fc.=model.head."],
        ["model.conv.weight", "model.conv.bias", "model.head.weight"],
    ),
    "that wrapper taken off": (below("model.", BODY), ["model.*=*"], [*BODY]),
    "names without wrappers": (
        below("module.model.", BODY), ["fc.=head."],
        ["model.conv.weight", "model.conv.bias", "model.head.weight"],
    ),
    "keys of the file": (
        below("module.", BODY), ["module.fc.weight=head.weight"],
        ["conv.weight", "conv.bias", "head.weight"],
    ),
    "one of several networks": (
        {"G": BODY, "D": INDEXED}, ["D.layers.=D.blocks."],
        [*below("G.", BODY), *below("D.", {n.replace("layers", "blocks"): 0 for n in INDEXED})],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("state", "rules", "names"), RULES.values(), ids=RULES.keys())
def test_rules_give_names_in_their_order(
    state: dict, rules: list[str], names: list[str], tmp_path: Path
) -> None:
    found = renamed(state, tmp_path, *rules)

    tensors = [t for v in state.values() for t in (v.values() if isinstance(v, dict) else [v])]
    assert same(found, dict(zip(names, tensors, strict=True)))
    checks = verify(tmp_path / "out", load_registry())
    assert [check for check in checks if not check.passed] == []


def test_files_of_one_component_have_the_names_that_were_given(tmp_path: Path) -> None:
    found = renamed(BODY, tmp_path, "*=model.*", to="pth")

    assert list(found) == [f"model.{name}" for name in BODY]


def test_a_layout_is_asked_by_the_new_names(example: Path, tmp_path: Path) -> None:
    state = torch.load(example, map_location="cpu", weights_only=False)["state_dict"]
    other = {name.replace("generator_AB", "there"): tensor for name, tensor in state.items()}
    path = saved(other, tmp_path)

    found = convcore.inspect(path, rename=["there.=generator_AB."])

    assert (convcore.inspect(path).layout, found.layout.name) == (None, "cyclegan")


def test_reports_name_both_spellings(tmp_path: Path) -> None:
    convcore.convert(
        saved(below("model.", BODY), tmp_path), tmp_path / "out", rename="model.fc.=model.head."
    )

    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    row = {row["tensor"]: row for row in manifest["ledger"]}["model.fc.weight"]
    said = "renamed 1 of 3 tensors: model.fc.weight to model.head.weight"
    assert row["key"] == "head.weight"
    assert manifest["renamed"]["head.weight"] == "model.fc.weight"
    assert any(said in sentence for sentence in manifest["evidence"])
    for name in ("model.fc.weight", "model.head.weight", "head.weight"):
        words = ["explain", str(tmp_path / "out"), "--tensor", name, "--json"]
        (told,) = json.loads(CliRunner().invoke(main, words).output)["ledger"]
        assert (told["tensor"], told["key"]) == (row["tensor"], row["key"])


def test_a_file_of_rules_is_read_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "names.toml").write_text('[rename]\n"conv.bias" = "shift"\n"conv.*" = "stem.*"\n')

    found = renamed(BODY, tmp_path, str(tmp_path / "names.toml"))

    assert list(found) == ["stem.weight", "shift", "fc.weight"]


class Normed(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = wrap(nn.Conv1d(3, 4, 2))
        self.deconv = wrap(nn.ConvTranspose1d(4, 3, 2), dim=1)
        self.whole = wrap(nn.Linear(3, 2), dim=None)

    def forward(self, x):
        return self.whole(self.deconv(self.conv(x)).mT)


def old_spelling() -> Normed:
    with pytest.warns(FutureWarning):
        return Normed(nn.utils.weight_norm)


def new_spelling() -> Normed:
    return Normed(nn.utils.parametrizations.weight_norm)


@pytest.mark.parametrize(
    ("made", "wanted"),
    [(old_spelling, new_spelling), (new_spelling, old_spelling)],
    ids=["to parametrizations", "from parametrizations"],
)
def test_weight_norm_computes_the_same_in_its_other_spelling(made, wanted, tmp_path: Path) -> None:
    one, other = made(), wanted()
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.mul_(1.5)
    x = torch.rand(1, 3, 5)

    other.load_state_dict(renamed(one.state_dict(), tmp_path, "weight-norm"))

    assert torch.allclose(other(x), one(x))


def test_weight_norm_is_respelt_after_the_rules(tmp_path: Path) -> None:
    state = {"conv.weight_g": torch.rand(4, 1), "conv.weight_v": torch.rand(4, 3)}

    found = renamed(state, tmp_path, "weight-norm", "conv.=stem.")

    assert list(found) == [f"stem.parametrizations.weight.original{n}" for n in (0, 1)]


NORMED = {"a.weight_g": torch.rand(2, 1), "a.weight_v": torch.rand(2, 3)}
PARAMETRIZED = {f"b.parametrizations.weight.original{n}": torch.rand(2, 2 * n + 1) for n in (0, 1)}
WRONG = {
    "nothing fits": (BODY, ["fx.weight=x"], "fits no tensor", "fc.weight"),
    "nothing is near": (BODY, ["decoder.*=x.*"], "fits no tensor", "there: conv.weight, conv.bias"),
    "two become one": (BODY, ["fc.weight=conv.weight"], "conv.weight: conv.weight and fc.weight",
                       ""),
    "patterns make them one": ({"a.w": BODY["conv.bias"], "b.w": BODY["conv.weight"]},
                               ["a.*=c.*", "b.*=c.*"], "name c.w: a.w and b.w", ""),
    "too late": (BODY, ["conv.*=a.*", "conv.bias=b"], "comes too late", ""),
    "other stars": (BODY, ["*.weight=*.*.weight"], "1 [*] on its left and 2 on its right", ""),
    "one name for all": (BODY, ["*.weight=weight"], "name weight: conv.weight and fc.weight", ""),
    "no new name": (BODY, ["fc.weight="], "names no other name", ""),
    "no rule": (BODY, ["fc.weight"], "names no other name", ""),
    "no file": (BODY, ["absent.toml"], "cannot be read as TOML: No such file", ""),
    "no weight norm": (BODY, ["weight-norm"], "no tensors are named as weight norm", "weight_g"),
    "both spellings": (NORMED | PARAMETRIZED, ["weight-norm"], "spellings here: a.weight_g", ""),
    "shapes that are none": ({**NORMED, "a.weight_g": torch.rand(3, 1)}, ["weight-norm"],
                             r"a.weight_g \[3, 1\] and a.weight_v \[2, 3\]", ""),
}  # fmt: skip


@pytest.mark.parametrize(("state", "rules", "what", "seen"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_renamed_is_told(
    state: dict, rules: list[str], what: str, seen: str, tmp_path: Path
) -> None:
    path = saved(state, tmp_path)

    with pytest.raises(UsageError, match=what) as caught:
        convcore.convert(path, tmp_path / "out", rename=rules)

    assert seen in " ".join(caught.value.seen)
    assert not (tmp_path / "out").exists()


FILES = {
    "names that are tables": ('[rename]\na.b = "c"\n', "gives a no name, but a dict"),
    "another table": ('[renames]\n"a" = "b"\n', "holds renames, and not one table"),
    "no TOML": ("[rename\n", "cannot be read as TOML"),
}


@pytest.mark.parametrize(("text", "what"), FILES.values(), ids=FILES.keys())
def test_a_file_at_fault_is_told(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "names.toml").write_text(text)

    with pytest.raises(UsageError, match=what):
        convcore.inspect(saved(BODY, tmp_path), rename=[str(tmp_path / "names.toml")])


def test_targets_are_added_under_the_same_names_alone(tmp_path: Path) -> None:
    path = saved(BODY, tmp_path)
    convcore.convert(path, tmp_path / "out", rename="fc.=head.")

    with pytest.raises(UsageError, match="written under other names than --rename gives now"):
        convcore.convert(path, tmp_path / "out", "safetensors", add=True)

    convcore.convert(path, tmp_path / "out", "safetensors", add=True, rename="fc.=head.")
    assert (tmp_path / "out/model.safetensors").is_file()


def test_diff_renames_the_first(tmp_path: Path) -> None:
    torch.save(below("old.", net(3, 4)), tmp_path / "a.pt")
    torch.save(below("new.", net(3, 4)), tmp_path / "b.pt")

    found = convcore.diff(tmp_path / "a.pt", tmp_path / "b.pt", rename="old.=new.")

    assert found["identical"]
    assert found["renamed"] == {"new.0.weight": "old.0.weight", "new.0.bias": "old.0.bias"}


def test_the_name_that_a_refusal_offers_works_when_typed(tmp_path: Path) -> None:
    path = saved(BODY, tmp_path)
    with pytest.raises(UsageError) as caught:
        convcore.inspect(path, rename="fc.wieght=head.weight")
    offered = caught.value.seen[0].removeprefix("nearest known name: ").partition(",")[0]

    found = convcore.inspect(path, rename=f"{offered}=head.weight")

    assert "head.weight" in found.checkpoint.tensors
