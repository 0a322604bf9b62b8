"""What no tensor shows is settled by one rule: option, what training stored, what is assumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from convcore import Assumption, Component, Layout, Setting, UsageError, open_checkpoint
from convcore.formats import Opaque
from convcore.layouts.candidates import consider
from convcore.layouts.graph import Axis, Graph
from convcore.layouts.layout import LayoutMatch
from convcore.layouts.matching import assemble, configure

Settled = Callable[..., LayoutMatch]

ACT = Assumption(
    "act", "leaky_relu", "activation", ("net.act", "act"), also=("relu",), spellings={"lr": "relu"}
)
EPS = Assumption("eps", 1e-5, "of the norm", "eps", between=(0, 1), graphs="normed")
HEADS = Assumption("heads", 8, "of attention", "heads", origin="guess", components="critic")
SCALE = Assumption("scale", None, "of the images", "scale")


def network() -> torch.nn.Module:
    return torch.nn.Identity()


def graphs(match: LayoutMatch) -> list[Graph]:
    ends = [Axis("x", ("batch", 1))], [Axis("y", ("batch", 1))]
    return [Graph(name, "net", *ends, network) for name in ("plain", "normed")]


LAYOUT = Layout(
    "small",
    "one network",
    [Component("net", "net."), Component("critic", "critic.", required=False)],
    graphs=graphs,
    assumes=[ACT, EPS, HEADS, SCALE],
    known=["lr*", "net.width"],
)


@pytest.fixture
def settled(tmp_path: Path) -> Settled:
    torch.save({"net.weight": torch.ones(1)}, tmp_path / "a.pt")
    read = open_checkpoint(tmp_path / "a.pt")

    def match(stored: dict[str, Any], **config: str) -> LayoutMatch:
        checkpoint = attrs.evolve(read, hyper_parameters=stored)
        return configure(assemble(consider(LAYOUT, checkpoint), checkpoint), config)

    return match


RELU = Opaque("torch.nn.modules.activation", "ReLU")
# What training stored, what the command says, and what the setting is then.
OUTCOMES = {
    "nothing": ({}, {}, ("leaky_relu", "default")),
    "null": ({"act": None}, {}, ("leaky_relu", "default")),
    "the same": ({"act": "leaky_relu"}, {}, ("leaky_relu", "hyper_parameters")),
    "the same, spelt": ({"act": "nn.LeakyReLU()"}, {}, ("leaky_relu", "hyper_parameters")),
    "another": ({"act": "relu"}, {}, ("relu", "hyper_parameters")),
    "another, deeper": ({"net": {"act": "lr"}}, {}, ("relu", "hyper_parameters")),
    "a class": ({"act": RELU}, {}, ("relu", "hyper_parameters")),
    "not computed": ({"act": "mish"}, {}, (None, "unknown")),
    "no text": ({"act": ["relu"]}, {}, (None, "unknown")),
    "contradicting": ({"act": "relu", "net": {"act": "leaky_relu"}}, {}, (None, "unknown")),
    "option": ({}, {"act": "relu"}, ("relu", "option")),
    "option against": ({"act": "mish"}, {"act": "relu"}, ("relu", "option")),
}


@pytest.mark.parametrize(("stored", "config", "setting"), OUTCOMES.values(), ids=OUTCOMES.keys())
def test_an_assumption_is_settled_with_its_origin(
    settled: Settled, stored: dict[str, Any], config: dict[str, str], setting: tuple[Any, Any]
) -> None:
    match = settled(stored, **config)

    assert match.settings["act"] == Setting(*setting)
    lacking = ("act",) if setting[0] is None else ()
    assert [graph.missing for graph in match.graphs()] == [lacking, lacking]


def test_what_is_assumed_is_told_with_the_option_that_says_otherwise(settled: Settled) -> None:
    told = settled({"act": "leaky_relu"}).evidence

    assert "hyper-parameters state what is assumed: act" in told
    assert any("eps=1e-05: this is assumed, and --config NAME=VALUE" in line for line in told)


@pytest.mark.parametrize("said", [0, 1, -1, "small", True, None], ids=repr)
def test_a_number_outside_its_interval_refuses_its_graphs_alone(
    settled: Settled, said: Any
) -> None:
    match = settled({"eps": said})

    assert match.value("eps") == (None if said is not None else 1e-5)
    assert [graph.missing for graph in match.graphs()] == [(), ("eps",) if said is not None else ()]


def test_a_refusal_says_what_was_stored_and_names_the_option(settled: Settled) -> None:
    plain, _ = settled({"act": "mish\u202e" * 40}).graphs()

    assert plain.refusal is not None
    assert plain.refusal.startswith("hyper-parameter act says 'mish\\u202e")
    assert "it can be leaky_relu, relu" in plain.refusal
    assert "--config act=VALUE" in plain.refusal
    assert len(plain.refusal) < 200


def test_an_option_that_is_not_computed_is_refused(settled: Settled) -> None:
    with pytest.raises(UsageError, match="act='mish' is not a legal value: it can be leaky_relu"):
        settled({}, act="mish")


def test_an_option_that_nothing_here_heeds_is_refused(settled: Settled) -> None:
    with pytest.raises(UsageError, match="--config heads changes nothing"):
        settled({}, heads="4")


def test_where_nothing_is_assumed_whatever_is_said_is_kept(settled: Settled) -> None:
    kept = [settled(stored).settings["scale"] for stored in ({}, {"scale": "to 1"}, {"scale": 3})]

    assert [setting.value for setting in kept] == [None, "to 1", "3"]
    assert [graph.missing for graph in settled({}).graphs()] == [(), ()]


def test_hyper_parameters_that_nobody_knows_are_told(settled: Settled) -> None:
    stored = {"lr": 1, "lr_g": 2, "net": {"width": 3, "rope": True}, "alibi\n": "x" * 99, 4: 5}

    (told,) = (line for line in settled(stored).evidence if "does not know" in line)

    assert told.startswith("3 hyper-parameters that this layout does not know: net.rope=True, ")
    assert "'alibi\\n'='xxx" in told
    assert "lr" not in told
    assert "\n" not in told


def test_an_output_of_an_earlier_version_computes_what_was_assumed(settled: Settled) -> None:
    earlier = attrs.evolve(settled({}), settings={})

    assert earlier.value("act") == "leaky_relu"
    assert earlier.otherwise("act", "eps") == {}
    assert settled({"act": "relu"}).otherwise("act", "eps") == {"act": "relu"}
