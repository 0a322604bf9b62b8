"""What no tensor of a UMC run shows, and its networks go by.

Source of the values: github.com/thuiar/UMC (``configs/umc_<dataset>.py``, ``data/__init__.py``, the
fusion network and its sequence encoder), and the ``config.json`` of its BERT folder. Its own option
``activation`` is read by no forward pass.
"""

from __future__ import annotations

from itertools import permutations

from convcore import Assumption
from convcore.layouts.settings import positive, true_or_false
from convcore_umc import bert

_SEQUENCES = ("video_encoder", "audio_encoder", "full")
_TEXT = ("text_encoder", "full")
_ORDER = ("text", "audio", "video")
_ORDERS = tuple("-".join(order) for order in permutations(_ORDER))

ASSUMED = (
    Assumption(
        "nheads",
        None,
        "attention heads of the video and audio encoders",
        ("nheads", "num_heads"),
        read=positive,
        graphs=_SEQUENCES,
    ),
    Assumption(
        "attn_mask",
        None,
        "true if those encoders are causal, else false",
        "attn_mask",
        read=true_or_false,
        graphs=_SEQUENCES,
    ),
    Assumption(
        "text_length",
        None,
        "tokens that every text is cut or padded to",
        ("text_length", "text_seq_len"),
        read=positive,
        graphs=_TEXT,
    ),
    Assumption(
        "video_length",
        None,
        "steps that every video is cut or padded to",
        ("video_length", "video_seq_len"),
        read=positive,
        graphs=("video_encoder", "full"),
    ),
    Assumption(
        "audio_length",
        None,
        "steps that every audio is cut or padded to",
        ("audio_length", "audio_seq_len"),
        read=positive,
        graphs=("audio_encoder", "full"),
    ),
    Assumption(
        "bert_heads",
        None,
        "attention heads of BERT, where there is no config.json",
        ("bert_heads", "num_attention_heads"),
        read=positive,
        graphs=_TEXT,
    ),
    Assumption(
        "bert_activation",
        bert.ACTIVATION,
        "activation of BERT, in the names of transformers",
        ("bert_activation", "hidden_act"),
        also=sorted(bert.ACTIVATIONS - {bert.ACTIVATION}),
        graphs=_TEXT,
        origin="guess",
    ),
    Assumption(
        "bert_layer_norm_eps",
        bert.LAYER_NORM_EPS,
        "what BERT's normalisation adds to the variance",
        ("bert_layer_norm_eps", "layer_norm_eps"),
        between=(0, 1),
        graphs=_TEXT,
        origin="guess",
    ),
    Assumption(
        "encoder_activation",
        "relu",
        "activation within the video and audio encoders",
        "encoder_activation",
        also=("gelu",),
        graphs=_SEQUENCES,
    ),
    Assumption(
        "norm_eps",
        1e-5,
        "what their normalisation adds to the variance",
        "norm_eps",
        between=(0, 1),
        graphs=_SEQUENCES,
    ),
    Assumption(
        "fusion_order",
        _ORDERS[0],
        "order in which the three features are joined",
        "fusion_order",
        also=_ORDERS[1:],
        graphs="full",
    ),
    Assumption(
        "fusion_activation",
        "gelu",
        "activation of the joined features",
        "fusion_activation",
        also=("relu",),
        graphs="full",
    ),
    Assumption(
        "head_activation",
        "relu",
        "activation before the last layer",
        "head_activation",
        also=("gelu",),
        graphs="full",
    ),
)
# What its configurations hold beside them, on which no network depends.
KNOWN = (
    "activation", "base_dim", "encoder_layers_*", "*_dropout*", "*_feat_dim", "lr*", "train_*",
    "eval_*", "num_*", "pretrain*", "seed", "method*", "dataset*", "text_backbone*", "*_path",
    "weight_decay", "wait_patience", "warmup_proportion", "grad_clip", "temperature*",
)  # fmt: skip
