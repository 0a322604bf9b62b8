"""State dicts of SeqSetVAE's versions, made from the published key tables, not from the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

INPUT, REDUCED, WIDTH, POINTS, INNER, LEVELS, LAYERS, CLASSES = 10, 6, 16, 3, 20, 3, 2, 2
HYPER = {"heads": 2, "transformer_heads": 4}
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def linear(key: str, after: int, before: int) -> Shapes:
    yield f"{key}.weight", (after, before)
    yield f"{key}.bias", (after,)


def norm(key: str, width: int) -> Shapes:
    yield f"{key}.weight", (width,)
    yield f"{key}.bias", (width,)


def attention(key: str) -> Shapes:
    yield f"{key}.in_proj_weight", (3 * WIDTH, WIDTH)
    yield f"{key}.in_proj_bias", (3 * WIDTH,)
    yield from linear(f"{key}.out_proj", WIDTH, WIDTH)


def mab(key: str) -> Shapes:
    yield from attention(f"{key}.multihead")
    yield from norm(f"{key}.ln1", WIDTH)
    yield from linear(f"{key}.ff.0", 2 * WIDTH, WIDTH)
    yield from linear(f"{key}.ff.2", WIDTH, 2 * WIDTH)
    yield from norm(f"{key}.ln2", WIDTH)


def isab(key: str) -> Shapes:
    yield f"{key}.inducing", (POINTS, WIDTH)
    yield from mab(f"{key}.mab1")
    yield from mab(f"{key}.mab2")


def pma(key: str) -> Shapes:
    yield from mab(f"{key}.mab")
    yield from linear(f"{key}.ff", WIDTH, WIDTH)
    yield from norm(f"{key}.ln", WIDTH)


def bottleneck(key: str) -> Shapes:
    yield from isab(f"{key}.isab")
    yield from pma(f"{key}.pma")


def set_vae(key: str, *, out: str = "out.0", reduced: bool = True, early: bool = False) -> Shapes:
    content = REDUCED if reduced else INPUT
    if reduced:
        yield from linear(f"{key}dim_reducer", REDUCED, INPUT)
    if early:
        yield from linear(f"{key}embed", WIDTH, content)
        yield from linear(f"{key}mu_logvar.0", WIDTH, WIDTH)
        yield from linear(f"{key}mu_logvar.2", 2 * WIDTH, WIDTH)
    else:
        yield from linear(f"{key}embed.0", WIDTH, content)
        yield from norm(f"{key}embed.1", WIDTH)
        yield from linear(f"{key}mu_logvar.0", WIDTH, WIDTH)
        yield from norm(f"{key}mu_logvar.1", WIDTH)
        yield from linear(f"{key}mu_logvar.4", 2 * WIDTH, WIDTH)
    for level in range(LEVELS):
        yield from isab(f"{key}encoder_layers.{level}")
        yield from bottleneck(f"{key}decoder_layers.{level}")
    yield from linear(f"{key}{out}", content, WIDTH)


def transformer() -> Shapes:
    for layer in range(LAYERS):
        key = f"transformer.layers.{layer}"
        yield from attention(f"{key}.self_attn")
        yield from linear(f"{key}.linear1", INNER, WIDTH)
        yield from linear(f"{key}.linear2", WIDTH, INNER)
        yield from norm(f"{key}.norm1", WIDTH)
        yield from norm(f"{key}.norm2", WIDTH)


def sequence() -> Shapes:
    yield from transformer()
    yield from norm("post_transformer_norm", WIDTH)
    yield "rel_time_bucket_embed.weight", (64, WIDTH)
    yield "alibi_slope", ()
    yield "time_tau", ()


def decoder(*, layers: str = "decoder_layers", content: int = REDUCED) -> Shapes:
    for level in range(LEVELS):
        yield from bottleneck(f"decoder.{layers}.{level}")
    yield from linear("decoder.out", content, WIDTH)


def stack() -> Shapes:
    half, quarter = WIDTH // 2, WIDTH // 4
    for index, after, before in ((0, WIDTH, WIDTH), (4, half, WIDTH), (8, quarter, half)):
        yield from linear(f"cls_head.{index}", after, before)
        yield from norm(f"cls_head.{index + 1}", after)
    yield from linear("cls_head.12", CLASSES, quarter)


def feature_parts() -> Shapes:
    yield from attention("feature_fusion.attention_pool")
    yield from linear("feature_projection.0", WIDTH, 3 * WIDTH)
    yield from norm("feature_projection.1", WIDTH)


def fusion_parts() -> Shapes:
    yield from feature_parts()
    key = "vae_feature_fusion"
    yield from linear(f"{key}.mean_projection", WIDTH, WIDTH)
    yield from linear(f"{key}.var_projection", WIDTH, WIDTH)
    yield from linear(f"{key}.fusion_gate.0", WIDTH, 2 * WIDTH)
    yield from linear(f"{key}.uncertainty_calibration.0", WIDTH // 4, WIDTH)
    yield from linear(f"{key}.uncertainty_calibration.2", 1, WIDTH // 4)


def advanced() -> Shapes:
    half, quarter = WIDTH // 2, WIDTH // 4
    for part, after, before in (
        ("feature_enhancer", WIDTH, WIDTH),
        ("pathway1", half, WIDTH),
        ("pathway2", half, WIDTH),
        ("pre_classifier", quarter, half),
    ):
        yield from linear(f"cls_head.{part}.0", after, before)
        yield from norm(f"cls_head.{part}.1", after)
    yield from attention("cls_head.self_attention")
    yield from norm("cls_head.attention_norm", WIDTH)
    yield from linear("cls_head.gate.0", 2, WIDTH)
    yield from linear("cls_head.classifier", CLASSES, quarter)
    yield from linear("cls_head.aux_classifier", CLASSES, WIDTH)


def gaussian(*, timed: bool) -> Shapes:
    yield "cls_head.mu", (2, WIDTH)
    yield "cls_head.log_tau2", (2, WIDTH)
    yield "cls_head.log_prior", (2,)
    yield "cls_head.alpha_logits", ()
    yield from linear("cls_head.gate.0", 7, 2 * WIDTH + 1 + timed)
    yield from linear("cls_head.gate.2", 1, 7)


def finetuned(*head: Shapes, out: str = "out.0", **options: Any) -> Shapes:
    yield from set_vae("setvae.setvae.", out=out, **options)
    yield from sequence()
    yield from decoder()
    for part in head:
        yield from part


def keys(*shapes: tuple[int, ...], **named: tuple[int, ...]) -> Shapes:
    yield from named.items()


def pretrained(**options: Any) -> Shapes:
    yield from set_vae("set_encoder.", **options)
    yield from sequence()
    yield from decoder(content=REDUCED if options.get("reduced", True) else INPUT)


def early_finetuned() -> Shapes:
    """The first commits: one Linear everywhere, pma_agg, inv_freq, dir_layers."""
    yield from set_vae("setvae.setvae.", out="out", early=True)
    yield from pma("setvae.setvae.pma_agg")
    yield "inv_freq", (WIDTH // 2,)
    yield from transformer()
    yield from decoder(layers="dir_layers")
    yield from linear("cls_head", CLASSES, WIDTH)


def middle_finetuned() -> Shapes:
    """From 4caf0e8 on: the present set encoder, pos_embedding and time_encoder, a stacked head."""
    yield from set_vae("setvae.setvae.")
    yield "pos_embedding", (1, 50, WIDTH)
    yield from linear("time_encoder.0", WIDTH, 1)
    yield from transformer()
    yield from norm("post_transformer_norm", WIDTH)
    yield from decoder()
    yield from stack()


VERSIONS: dict[str, list[tuple[str, tuple[int, ...]]]] = {
    "seed": list(finetuned(stack(), fusion_parts())),
    "two-linear": list(
        finetuned(linear("cls_head.0", 128, WIDTH), linear("cls_head.3", CLASSES, 128))
    ),
    "linear": list(finetuned(linear("cls_head", CLASSES, WIDTH))),
    "temperature": list(
        finetuned(linear("cls_head.1", CLASSES, 2 * WIDTH + 2), keys(temperature=(1,)))
    ),
    "norms": list(finetuned(stack())),
    "gated": list(finetuned(stack(), keys(pooling_gate=()))),
    "advanced": list(finetuned(advanced(), keys(pooling_gate=()), out="out")),
    "gaussian_mil": list(finetuned(gaussian(timed=False), keys(pooling_gate=()), out="out")),
    "pre-seed": list(finetuned(stack(), feature_parts())),
    "pre-seed (first commits)": list(early_finetuned()),
    "pre-seed (pos_embedding)": list(middle_finetuned()),
}


def state_dict(shapes: Any, seed: int = 0) -> dict[str, torch.Tensor]:
    """Fill shapes with numbers of a size at which no part of the network is saturated."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes:
        values = torch.randn(shape, generator=generator)
        sharp = 1.0 if key.endswith("in_proj_weight") else 0.3  # no attention is nearly uniform
        state[key] = sharp * values if len(shape) > 1 else 0.5 + 0.3 * values
    if "time_tau" in state:
        state["time_tau"] = torch.tensor(45.0)
    return state


def save(path: Any, shapes: Any, *, hyper: dict[str, Any] | None = None, seed: int = 0) -> Any:
    """Save as Lightning does: ``state_dict`` beside ``hyper_parameters``."""
    checkpoint = {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": shapes if isinstance(shapes, dict) else state_dict(shapes, seed),
        "hparams_name": "kwargs",
        "hyper_parameters": HYPER if hyper is None else hyper,
    }
    torch.save(checkpoint, path)
    return path
