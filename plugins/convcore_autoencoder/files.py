"""The weight files of an autoencoder, the encoder's as the origin writes it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from convcore import LayoutMatch
from convcore.layouts.settings import departures
from convcore.targets.weights import local_names
from convcore_autoencoder.assumptions import SHAPING

MODEL_TYPE = "EnhancedResNet50Encoder"  # the name the origin's extracted files carry
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def weights(match: LayoutMatch, component: str) -> Mapping[str, Any]:
    """Shape a weight file: the encoder's as the origin's ``extract_encoder.py`` does.

    Facts: names and order of the entries are those of the origin's extracted files; the name of
    the checkpoint is kept without its folder.
    """
    names = local_names(match, component)
    state = OrderedDict((local, match.checkpoint.tensors[name]) for local, name in names.items())
    if component != "encoder":
        return state
    parameters = sum(
        math.prod(tensor.shape) for key, tensor in state.items() if not key.endswith(_BUFFERS)
    )
    return {
        "encoder_state_dict": state,
        "model_config": {
            "input_channels": match.value("input_channels"),
            "latent_dim": match.value("latent_dim"),
            "model_type": MODEL_TYPE,
            # Nothing in a file of the origin's; without them a changed copy would read as its own.
            **{name: value for name, value in departures(match).items() if name in SHAPING},
        },
        "extracted_from": match.checkpoint.path.name,
        "extraction_info": {
            "total_params": parameters,
            "trainable_params": parameters,
            "num_weights": len(state),
        },
    }
