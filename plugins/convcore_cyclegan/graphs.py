"""Graphs of a CycleGAN: both directions, bare and with their normalisation, and the judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from convcore import Affine, Axis, Graph, LayoutMatch
from convcore_cyclegan.assumptions import KIND
from convcore_cyclegan.normalisation import FILE, read_normalisation
from convcore_cyclegan.structure import DISCRIMINATORS, GENERATORS

if TYPE_CHECKING:
    import torch


def graphs(match: LayoutMatch) -> Iterator[Graph]:
    """Yield the graphs of all components that are there."""
    early = match.value("version") == "early"
    inputs = match.value("input_dim")
    outputs = match.value("output_dim") if early else inputs
    features = Axis("features", ("batch", "time", inputs))
    converted = Axis("converted", ("batch", "time", outputs))
    call = _early_generator(match) if early else _generator(match)
    generators = [
        Graph(name, name, (features,), (converted,), partial(_network, *call), call=call)
        for name in GENERATORS
        if name in match.states
    ]
    yield from generators
    if not early and FILE in match.sidecars:
        known = read_normalisation(match.sidecars[FILE], inputs)
        a, b = (known.mean_a, known.std_a), (known.mean_b, known.std_b)
        affines = {"generator_AB": Affine(*a, *b), "generator_BA": Affine(*b, *a)}
        for bare in generators:
            yield Graph(
                bare.name.replace("generator", "convert"),
                bare.components,
                bare.inputs,
                bare.outputs,
                bare.network,
                base=bare.name,
                affine=affines[bare.name],
                call=call,
            )
    score = Axis("score", ("batch", "time", 1))
    for name in DISCRIMINATORS:
        if name in match.states:
            judge = _early_discriminator(match) if early else _discriminator(match)
            network = partial(_network, *judge)
            yield Graph(name, name, (features,), (score,), network, role="training", call=judge)


def _network(name: str, arguments: Mapping[str, Any]) -> torch.nn.Module:
    from convcore_cyclegan import nets

    network: torch.nn.Module = getattr(nets, name)(**arguments)
    return network


def _generator(match: LayoutMatch) -> tuple[str, dict[str, Any]]:
    names = ("input_dim", "hidden_dims", "n_residual_blocks", "dropout", "use_batch_norm")
    own = {name: match.value(name) for name in names}
    return "Generator", own | match.otherwise("output_activation", *KIND)


def _discriminator(match: LayoutMatch) -> tuple[str, dict[str, Any]]:
    names = ("hidden_dims", "dropout", "use_batch_norm")
    own = {name: match.value(f"discriminator_{name}") for name in names}
    return "Discriminator", {"input_dim": match.value("input_dim"), **own, **_judging(match)}


def _early_generator(match: LayoutMatch) -> tuple[str, dict[str, Any]]:
    names = ("input_dim", "output_dim", "hidden_dims")
    own = {name: match.value(name) for name in names}
    return "EarlyGenerator", own | match.otherwise("output_activation", *KIND)


def _early_discriminator(match: LayoutMatch) -> tuple[str, dict[str, Any]]:
    hidden = match.value("discriminator_hidden_dims")
    own = {"input_dim": match.value("input_dim"), "hidden_dims": hidden}
    return "EarlyDiscriminator", own | _judging(match)


def _judging(match: LayoutMatch) -> dict[str, Any]:
    prefix = "discriminator_"
    found = match.otherwise(*(f"{prefix}{name}" for name in KIND))
    return {name.removeprefix(prefix): value for name, value in found.items()}
