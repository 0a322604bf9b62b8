"""Layout ``autoencoder``: a height map autoencoder whose encoder ships as a semantic encoder.

Assumed, where no tensor shows it and no hyper-parameter states it; ``--config NAME=VALUE`` says
otherwise:

| name | assumed | what it is |
|---|---|---|
| `image_size` | 128 | size of the exported encoder's images, N or HxW |
| `activation` | relu | activation of every hidden layer |
| `output_activation` | tanh | activation of the decoder's image |
| `norm` | batch | kind of normalisation |
| `norm_eps` | 1e-05 | what normalisation adds to the variance |
| `input_scaling` | (nothing) | how images come to lie between -1 and 1: as training scaled them |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore import Component, Layout, Source, hookimpl
from convcore_autoencoder import extracted
from convcore_autoencoder.assumptions import ASSUMED, KNOWN
from convcore_autoencoder.configuration import configure
from convcore_autoencoder.files import weights
from convcore_autoencoder.graphs import graphs
from convcore_autoencoder.schema import make_schema

if TYPE_CHECKING:
    from convcore_autoencoder.runtime import SemanticEncoder, create_semantic_encoder

convcore_api = 2

__all__ = ["SemanticEncoder", "create_semantic_encoder"]


@hookimpl
def convcore_layouts() -> list[Layout]:
    """Declare the layout."""
    return [
        Layout(
            "autoencoder",
            "height map autoencoder: a ResNet-50 encoder with attention, and its decoder",
            (
                Component("encoder", "encoder.", file="encoder_weights"),
                Component("decoder", "decoder.", role="training", required=False),
            ),
            schema=make_schema,
            configure=configure,
            graphs=graphs,
            weights=weights,
            state_dict_file="best_model_weights.pth",
            nets=Path(__file__).with_name("nets.py"),
            assumes=ASSUMED,
            known=KNOWN,
        )
    ]


@hookimpl
def convcore_sources() -> list[Source]:
    """Declare the source that finds an encoder saved without its whole model."""
    return [
        Source(
            extracted.NAME,
            "an AutoEncoder's encoder alone, or inside a bigger model",
            extracted.read,
            {"state-dict", "lightning"},
        )
    ]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from convcore_autoencoder import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
