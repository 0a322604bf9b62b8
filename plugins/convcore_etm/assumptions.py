"""What no tensor of an ETM model shows, and its networks or their callers go by.

Source of the values: github.com/ziran-ai/ColorRAG, whose constructor takes none of them; the
one-sided convention is its loader's.
"""

from __future__ import annotations

from convcore import Assumption

_ONE_SIDED = ("text_to_color", "color_to_text")
_NETWORKS = ("color_encoder", "text_encoder", "decoder", *_ONE_SIDED, "full")

ASSUMED = (
    Assumption(
        "one_sided",
        "gaussian",
        "stands for a missing side: a gaussian, or zeros through its encoder",
        "one_sided",
        also=("zero",),
        graphs=_ONE_SIDED,
    ),
    Assumption(
        "missing_logvar",
        10.0,
        "log-variance of the gaussian that stands for a missing side",
        ("missing_logvar", "one_sided_logvar"),
        between=(-80, 80),
        graphs=_ONE_SIDED,
    ),
    Assumption(
        "fuse_eps",
        1e-10,
        "what the product of Gaussians adds to its denominators",
        ("fuse_eps", "poe_eps", "eps"),
        between=(0, 1),
        graphs=(*_ONE_SIDED, "full"),
    ),
    Assumption(
        "activation",
        "relu",
        "activation of encoders and score predictor",
        ("activation", "act"),
        also=("gelu", "silu", "tanh"),
        spellings={"swish": "silu"},
        graphs=_NETWORKS,
    ),
    Assumption(
        "norm",
        "batch",
        "kind of normalisation in the encoders",
        ("norm", "norm_type", "norm_layer"),
        spellings={"batchnorm": "batch", "bn": "batch"},
        graphs=tuple(name for name in _NETWORKS if name != "decoder"),
    ),
    Assumption(
        "norm_eps",
        1e-5,
        "what normalisation adds to the variance",
        ("norm_eps", "bn_eps", "batch_norm_eps"),
        between=(0, 1),
        graphs=tuple(name for name in _NETWORKS if name != "decoder"),
    ),
    Assumption(
        "score_scale",
        None,
        "minimum and maximum of the scores, which training scales to 0 and 1",
        ("score_scale", "score_range"),
        components="decoder",
    ),
)
# Arguments of ``nets.Kind``.
KIND = ("activation", "norm_eps", "fuse_eps", "missing_logvar")
# What training scripts write beside them, on which no network depends.
KNOWN = (
    "dropout", "max_features", "lr", "learning_rate", "batch_size", "epochs", "num_epochs", "seed",
    "weight_decay", "save_*", "data_*", "device", "*_dir", "*_path",
)  # fmt: skip
