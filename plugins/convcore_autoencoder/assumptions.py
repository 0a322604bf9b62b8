"""What no tensor of an autoencoder shows, and its networks or their callers go by.

Source of the values: the origin's classes, in which they are written down, and its training images.
"""

from __future__ import annotations

from typing import Any

from convcore import Assumption
from convcore.layouts.settings import positive

IMAGE_SIZE = 128
# A size beyond this is no image's: tracing it would exhaust the memory.
_LARGEST = 4096


def image_size(given: Any) -> int | list[int]:
    """Read ``N``, ``HxW`` or a stored whole number, in pixels; ValueError for anything else."""
    sizes = [
        positive(part) for part in (str(given).lower().split("x"), [given])[type(given) is int]
    ]
    if len(sizes) > 2:
        raise ValueError("write it as N or HxW")
    if max(sizes) > _LARGEST:
        raise ValueError(f"{_LARGEST} pixels are the most")
    return sizes[0] if len(set(sizes)) == 1 else sizes


ASSUMED = (
    Assumption(
        "image_size",
        IMAGE_SIZE,
        "size of the exported encoder's images, N or HxW",
        "image_size",
        read=image_size,
        graphs="encoder",
    ),
    Assumption(
        "activation",
        "relu",
        "activation of every hidden layer",
        ("activation", "act"),
    ),
    Assumption(
        "output_activation",
        "tanh",
        "activation of the decoder's image",
        ("output_activation", "final_activation"),
        components="decoder",
    ),
    Assumption(
        "norm",
        "batch",
        "kind of normalisation",
        ("norm", "norm_type", "norm_layer"),
        spellings={"batchnorm": "batch", "bn": "batch"},
    ),
    Assumption(
        "norm_eps",
        1e-5,
        "what normalisation adds to the variance",
        ("norm_eps", "bn_eps", "batch_norm_eps"),
        between=(0, 1),
    ),
    Assumption(
        "input_scaling",
        None,
        "how images come to lie between -1 and 1: as training scaled them",
        ("input_scaling", "scaling", "normalize"),
    ),
)
# Those that decide what the encoder computes, whatever the size of the image.
SHAPING = ("activation", "norm", "norm_eps")
# What the training's configuration holds beside them, on which no network depends.
KNOWN = (
    "input_channels", "latent_dim", "output_size", "model_type", "optimizer*", "scheduler*",
    "save_*", "lr*", "learning_rate", "batch_size", "num_epochs", "epochs", "weight_decay", "seed",
    "num_workers", "device", "*_dir", "*_path", "height_range", "dropout*", "val_*", "resume*",
)  # fmt: skip
