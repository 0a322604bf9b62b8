"""What no tensor of a SeqSetVAE shows, and its networks go by.

Source of the values: github.com/sxtforreal/SeqSetVAE, ``modules.py`` and ``model.py``. The numbers
of heads are in its hyper-parameters, the mode is a switch of the running program, the edges of the
time buckets are a buffer that is not saved.
"""

from __future__ import annotations

from convcore import Assumption
from convcore.layouts.settings import positive

ASSUMED = (
    Assumption(
        "heads",
        None,
        "attention heads of the set encoder",
        "heads",
        read=positive,
        graphs="set_encoder",
    ),
    Assumption(
        "transformer_heads",
        None,
        "attention heads of the transformer",
        "transformer_heads",
        read=positive,
        components="sequence",
        graphs="sequence",
    ),
    Assumption(
        "classification_only",
        True,
        "the classifier's mode, a switch of the running program",
        "classification_only",
        components="classifier",
        graphs="sequence",
    ),
    Assumption(
        "time_edges",
        "0.5-1440",
        "ends of the 63 logarithmic edges of the time buckets, minutes",
        ("time_edges", "time_bucket_edges", "bucket_edges"),
        components="sequence",
        graphs="sequence",
    ),
    Assumption(
        "activation",
        "gelu",
        "activation of set encoder and transformer",
        ("activation", "act"),
    ),
    Assumption(
        "norm_eps",
        1e-5,
        "what layer normalisation adds to the variance",
        ("norm_eps", "layer_norm_eps", "eps"),
        between=(0, 1),
    ),
    Assumption(
        "post_norm_eps",
        1e-6,
        "what the normalisation after the transformer adds",
        ("post_norm_eps", "post_transformer_norm_eps"),
        between=(0, 1),
        components="sequence",
        graphs="sequence",
    ),
)
# What training stores that no network depends on, or that the tensors show.
KNOWN = (
    "input_dim", "reduced_dim", "latent_dim", "levels", "m", "ff_dim", "transformer_layers",
    "num_classes", "lr", "beta", "warmup_beta", "max_beta", "beta_warmup_steps", "free_bits",
    "transformer_dropout", "time_num_frequencies", "pretrained_ckpt", "w", "kl_annealing",
    "skip_pretrained_on_resume", "use_focal_loss", "focal_gamma", "focal_alpha", "head",
    "head_type", "gaussian_use_time",
)  # fmt: skip
