"""The functions a SeqSetVAE checkpoint can be exported to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from convcore import Axis, Graph, LayoutMatch
from convcore_seqsetvae.versions import COMPUTED, recognise

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

_TWO_DAYS = 2880.0


def graphs(match: LayoutMatch) -> Iterator[Graph]:
    """Yield the set encoder, the sequence part and, where it cannot be computed, the classifier."""
    version = recognise(match.checkpoint.tensors)
    if version.head is not None:
        version = version._replace(head=match.value("head"))
    inputs, latent = match.value("input_dim"), match.value("latent_dim")
    yield Graph(
        "set_encoder",
        "set_encoder",
        (Axis("variables", ("batch", "n", inputs)), Axis("values", ("batch", "n", 1))),
        (Axis("mu", ("batch", latent)), Axis("logvar", ("batch", latent))),
        **_network("SetEncoder", _encoder_arguments(match)),
        **_obstacle(match, version.encoder_refusal, "heads"),
    )
    if version.stage == "set-vae":
        return
    mu, logvar = Axis("mu", (1, "sets", latent)), Axis("logvar", (1, "sets", latent))
    minutes = Axis("minutes", (1, "sets"), sample=sorted_minutes)
    hidden = Axis("hidden", (1, "sets", latent))
    obstacle = _obstacle(match, version.sequence_refusal, "transformer_heads")
    classes = (match.value("num_classes") or 1) if version.head is not None else 1
    results = (Axis("logits", (1, classes)), Axis("probabilities", (1, classes)))
    if version.head in COMPUTED:
        both, given = ("sequence", "classifier"), (mu, logvar, minutes)
        yield Graph("sequence", both, given, (hidden, *results), _finetuned(match), **obstacle)
        return
    # How the versions without a computed head turn a posterior into z is not known; what a
    # transformer then makes of z is.
    z = mu if version.head is None else Axis("z", (1, "sets", latent))
    network = _network("Sequence", _sequence_arguments(match))
    yield Graph("sequence", "sequence", (z, minutes), (hidden,), **network, **obstacle)
    if version.head is not None:
        refusal = version.head_refusal
        built = _finetuned(match)
        yield Graph("classifier", "classifier", (hidden,), results, built, refusal=refusal)


def sorted_minutes(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Draw the minutes of a patient's sets: not negative, in order, over two days."""
    import numpy as np

    return np.sort(generator.uniform(0, _TWO_DAYS, shape), axis=-1).astype("float32")


def _obstacle(match: LayoutMatch, refusal: str | None, heads: str) -> dict[str, Any]:
    if refusal is not None:
        return {"refusal": refusal}
    if match.value(heads) is not None:
        return {}
    reason = f"the number of attention heads, {heads}, is in no tensor and not in the file"
    return {"refusal": reason, "missing": (heads,)}


def _network(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    def build() -> nn.Module:
        from convcore_seqsetvae import nets

        made: nn.Module = getattr(nets, name)(**arguments)
        return made

    return {"network": build, "call": (name, arguments)}


def _encoder_arguments(match: LayoutMatch) -> dict[str, Any]:
    return {
        "inputs": match.value("input_dim"),
        "reduced": match.value("reduced_dim"),
        "width": match.value("latent_dim"),
        "levels": match.value("levels"),
        "heads": match.value("heads"),
        "points": match.value("m"),
        **match.otherwise("norm_eps"),
    }


def _sequence_arguments(match: LayoutMatch) -> dict[str, Any]:
    return {
        "width": match.value("latent_dim"),
        "heads": match.value("transformer_heads"),
        "inner": match.value("ff_dim"),
        "layers": match.value("transformer_layers"),
        "gated": recognise(match.checkpoint.tensors).gated,
        **match.otherwise("norm_eps", "post_norm_eps"),
    }


def _finetuned(match: LayoutMatch) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from convcore_seqsetvae import nets

        width, classes = match.value("latent_dim"), match.value("num_classes")
        head: nn.Module
        if match.value("head") == "gaussian_mil":
            mixing = match.checkpoint.tensors["cls_head.alpha_logits"].shape
            timed = match.value("gaussian_use_time")
            head = nets.GaussianHead(width, match.sizes["G"], timed=timed, mixing=mixing)
        elif match.value("head") == "advanced":
            head = nets.AdvancedHead(width, classes)
        else:
            head = nets.SeedHead(width, classes)
        return nets.Finetuned(nets.Sequence(**_sequence_arguments(match)), head)

    return build
