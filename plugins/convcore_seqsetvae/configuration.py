"""Settles SeqSetVAE's configuration: from shapes, except the two numbers of heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convcore import LayoutError, LayoutMatch, Settler, UsageError
from convcore.layouts.settings import legible, positive
from convcore_seqsetvae.schema import indexed, levels
from convcore_seqsetvae.versions import HEADS, Version, recognise

_STAGES = {
    "pretraining": "SeqSetVAEPretrain: set encoder, transformer and decoder, no classifier",
    "finetuning": "SeqSetVAE with a classifier; the one meaningful mode, classification only, is "
    "a run-time switch that no file holds",
    "set-vae": "the stand-alone SetVAE: a set encoder and its decoder, no sequence",
}


def configure(match: LayoutMatch, settler: Settler) -> None:
    """Settle sizes from the tensors, heads from the option or what training stored.

    Raises:
        LayoutError: The tensors contradict the architecture: an odd latent size, a reducer that
            training had and the file has not, a gate of the Gaussian head of no legal width.
        UsageError: A number of heads given by option does not divide the latent size.
    """
    names = match.checkpoint.tensors
    version = recognise(names)
    sizes, stated = match.sizes, {k: legible(v) for k, v in settler.hyper_parameters.items()}
    settler.put("stage", version.stage, "shape")
    settler.note(f"keys begin with {version.prefix!r}: {_STAGES[version.stage]}")
    _refuse_contradictions(match, version, stated.get("reduced_dim"))
    settler.from_shape("input_dim", sizes["I"], stated.get("input_dim"))
    settler.from_shape("reduced_dim", sizes.get("R"), stated.get("reduced_dim"))
    settler.from_shape("latent_dim", sizes["D"], stated.get("latent_dim"))
    settler.from_shape("levels", levels(version, names), stated.get("levels"))
    settler.from_shape("m", sizes["M"], stated.get("m"))
    _settle_heads(settler, "heads")
    if version.stage != "set-vae":
        settler.from_shape("ff_dim", sizes["F"], stated.get("ff_dim"))
        layers = indexed(names, "transformer.layers.")
        settler.from_shape("transformer_layers", layers, stated.get("transformer_layers"))
        _settle_heads(settler, "transformer_heads")
    if version.head is not None:
        version = version._replace(head=_settle_head(match, settler, version.head, stated))
    for refusal in (version.encoder_refusal, version.sequence_refusal, version.head_refusal):
        if refusal is not None:
            settler.note(refusal)


def _settle_head(
    match: LayoutMatch, settler: Settler, shown: str, stated: Mapping[str, Any]
) -> str:
    head, sizes = str(settler.put("head", shown, "shape")), match.sizes
    if shown == "norms":
        # A finetuning begun by this plugin lacks the dead fusion parts: the same keys, but seed.
        if stated.get("head") == "seed":
            head = settler.put("head", "seed", "hyper_parameters")
        head = settler.from_option("head", _norms_or_seed) or head
    elif settler.config.get("head", shown) != shown:
        raise UsageError(
            f"--config head={settler.config['head']} contradicts the keys, which are of {shown!r}",
            remedy="leave it out",
        )
    settler.note(f"classifier head {head!r}: {HEADS[head]}")
    classes = 2 if head == "gaussian_mil" else sizes.get("C")
    if classes is None:  # a head whose shapes are not known: its last layer's bias has the classes
        biases = [t for key, t in match.states["classifier"].items() if key.endswith("bias")]
        classes = biases[-1].shape[0] if biases and biases[-1].shape else None
    settler.from_shape("num_classes", classes, stated.get("num_classes"))
    if head == "gaussian_mil":
        used = stated.get("gaussian_use_time")
        settler.from_shape("gaussian_use_time", sizes["E"] == 2 * sizes["D"] + 2, used)
    return head


def _norms_or_seed(text: str) -> str:
    if text not in ("norms", "seed"):
        raise ValueError("say norms or seed, the two versions that have these keys")
    return text


def _settle_heads(settler: Settler, name: str) -> None:
    width = settler.settings["latent_dim"].value

    def divisor(given: Any) -> int:
        heads = positive(given)
        if width % heads:
            raise ValueError(f"it does not divide the latent size {width}")
        return heads

    if settler.assume(name, read=divisor) is None and settler.hyper_parameters.get(name) is None:
        settler.note(
            f"{name} is not in the file and no tensor shows it: ONNX needs --config {name}=…"
        )


def _refuse_contradictions(match: LayoutMatch, version: Version, reduced: Any) -> None:
    sizes = match.sizes
    if sizes["D"] % 2:
        raise LayoutError(
            f"the latent size {sizes['D']} is odd, and positions need sine and cosine in pairs",
            remedy="this is no SeqSetVAE checkpoint; take it whole with --layout plain",
        )
    if isinstance(reduced, int) and not version.reduced:
        raise LayoutError(
            f"{version.prefix}dim_reducer.weight and .bias are missing, "
            f"though the model was trained with reduced_dim {reduced}",
            seen=(f"hyper_parameters: reduced_dim = {reduced}",),
            remedy="check how the file was saved; --layout plain takes it as it is",
        )
    width = 2 * sizes["D"]
    if version.head == "gaussian_mil" and sizes["E"] not in (width + 1, width + 2):
        raise LayoutError(
            f"cls_head.gate.0.weight takes {sizes['E']} inputs, should be {width + 1} (mu, logvar "
            f"and the score) or {width + 2} (minutes too)",
            remedy="check how the file was saved; --layout plain takes it as it is",
        )
