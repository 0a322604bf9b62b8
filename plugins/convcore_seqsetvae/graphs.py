"""The functions a SeqSetVAE checkpoint can be exported to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from convcore.model import Axis, Graph, LayoutMatch
from convcore_seqsetvae.versions import COMPUTED, recognise

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from convcore_seqsetvae import nets

_TWO_DAYS = 2880.0


def graphs(match: LayoutMatch) -> Iterator[Graph]:
    """Yield the set encoder, the sequence part and, where it cannot be computed, the classifier."""
    version = recognise(match.checkpoint.tensors)
    if version.head is not None:
        version = attrs.evolve(version, head=match.value("head"))
    inputs, latent = match.value("input_dim"), match.value("latent_dim")
    yield Graph(
        "set_encoder",
        "set_encoder",
        (Axis("variables", ("batch", "n", inputs)), Axis("values", ("batch", "n", 1))),
        (Axis("mu", ("batch", latent)), Axis("logvar", ("batch", latent))),
        _set_encoder(match),
        **_obstacle(match, version.encoder_refusal, "heads"),
    )
    if version.stage == "set-vae":
        return
    mu, logvar = Axis("mu", (1, "sets", latent)), Axis("logvar", (1, "sets", latent))
    minutes = Axis("minutes", (1, "sets"), sample=sorted_minutes)
    hidden = Axis("hidden", (1, "sets", latent))
    obstacle = _obstacle(match, version.sequence_refusal, "transformer_heads")
    if version.head is None:
        yield Graph("sequence", "sequence", (mu, minutes), (hidden,), _sequence(match), **obstacle)
        return
    classes = match.value("num_classes") or 1
    results = (Axis("logits", (1, classes)), Axis("probabilities", (1, classes)))
    both = ("sequence", "classifier")
    if version.head in COMPUTED:
        given, got, network = (mu, logvar, minutes), (hidden, *results), _finetuned(match)
        yield Graph("sequence", both, given, got, network, **obstacle)
        return
    # How these versions turn a posterior into z is not known; what follows it is.
    z = Axis("z", (1, "sets", latent))
    yield Graph("sequence", "sequence", (z, minutes), (hidden,), _sequence(match), **obstacle)
    network = _finetuned(match)
    refusal = version.head_refusal
    yield Graph("classifier", "classifier", (hidden,), results, network, refusal=refusal)


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


def _set_encoder(match: LayoutMatch) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from convcore_seqsetvae.nets import SetEncoder

        names = ("input_dim", "reduced_dim", "latent_dim", "levels", "heads", "m")
        return SetEncoder(*(match.value(name) for name in names))

    return build


def _sequence(match: LayoutMatch) -> Callable[[], nets.Sequence]:
    def build() -> nets.Sequence:
        from convcore_seqsetvae.nets import Sequence

        names = ("latent_dim", "transformer_heads", "ff_dim", "transformer_layers")
        gated = recognise(match.checkpoint.tensors).gated
        return Sequence(*(match.value(name) for name in names), gated=gated)

    return build


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
        return nets.Finetuned(_sequence(match)(), head)

    return build
