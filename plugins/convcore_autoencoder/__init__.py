"""Layout ``autoencoder``: a height map autoencoder whose encoder ships as a semantic encoder."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.hookspecs import hookimpl
from convcore.model import Axis, Component, Graph, Layout, LayoutMatch, Role, Source
from convcore.settings import Settler, positive
from convcore_autoencoder import extracted
from convcore_autoencoder.schema import decoder_widths, encoder_widths, make_schema

if TYPE_CHECKING:
    from torch import nn

    from convcore_autoencoder.runtime import SemanticEncoder, create_semantic_encoder

__all__ = ["SemanticEncoder", "create_semantic_encoder"]

_HERE = Path(__file__).parent
MODEL_TYPE = "EnhancedResNet50Encoder"  # the name the origin's extracted files carry
_IMAGE_SIZE = 128
# A stored size beyond this is no image size: tracing it would exhaust the memory.
_LARGEST = 4096
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def _image_size(text: str) -> int | list[int]:
    """Read ``N`` or ``HxW``, in pixels; ValueError for anything else."""
    sizes = [positive(part) for part in text.lower().split("x")]
    if len(sizes) > 2:
        raise ValueError("write it as N or HxW")
    return sizes[0] if len(set(sizes)) == 1 else sizes


def configure(match: LayoutMatch, settler: Settler) -> None:
    """Settle widths from the tensors and the image size, which no tensor shows."""
    stated, sizes, names = settler.hyper_parameters, match.sizes, match.checkpoint.tensors
    for name in ("input_channels", "latent_dim"):
        settler.from_shape(name, sizes[name], stated.get(name))
    _settle_image_size(settler)
    settler.from_shape("encoder_widths", encoder_widths(sizes, names))
    if _has_decoder(match):
        settler.from_shape("decoder_widths", decoder_widths(sizes, names))
    elif "decoder" in match.states:
        settler.note("the decoder is of another architecture: written as it is, never exported")
    settler.put("input_scaling", None, "unknown")
    settler.note("no file says how images are scaled into -1 to 1: scale them as training did")


def _settle_image_size(settler: Settler) -> None:
    if settler.from_option("image_size", _image_size) is not None:
        return
    size = settler.hyper_parameters.get("image_size")
    if size is None or (type(size) is int and 0 < size <= _LARGEST):
        settler.from_hyper("image_size", _IMAGE_SIZE)
    else:
        settler.note(f"image_size {size!r} of the file is no size: {_IMAGE_SIZE} is taken")
        settler.put("image_size", _IMAGE_SIZE, "default")


def graphs(match: LayoutMatch) -> Iterator[Graph]:
    """Yield the encoder at its image size and, where there is one, the decoder."""
    size = match.value("image_size")
    height, width = size if isinstance(size, list) else (size, size)
    channels, latent = match.value("input_channels"), match.value("latent_dim")
    image = Axis("image", ("batch", channels, height, width))
    embedding = Axis("embedding", ("batch", latent))
    arguments = {"input_channels": channels, "latent_dim": latent, **match.value("encoder_widths")}
    yield _graph("encoder", "Encoder", arguments, image, embedding)
    if _has_decoder(match):
        widths = match.value("decoder_widths")
        side = 4 * 2 ** len(widths["outputs"])
        image = Axis("image", ("batch", channels, side, side))
        arguments = {"latent_dim": latent, "output_channels": channels, **widths}
        yield _graph("decoder", "Decoder", arguments, embedding, image, role="training")


def _graph(
    name: str,
    network: str,
    arguments: Mapping[str, Any],
    given: Axis,
    made: Axis,
    role: Role = "inference",
) -> Graph:
    def build() -> nn.Module:
        from convcore_autoencoder import nets

        module: nn.Module = getattr(nets, network)(**arguments)
        return module

    return Graph(name, name, (given,), (made,), build, role, call=(network, arguments))


def _has_decoder(match: LayoutMatch) -> bool:
    """Whether the decoder is the origin's: the schema then knew its widths."""
    return "final_reduced" in match.sizes


def weights(match: LayoutMatch, component: str) -> Mapping[str, Any]:
    """Shape a weight file: the encoder's as the origin's ``extract_encoder.py`` does.

    Facts: names and order of the entries are those of the origin's extracted files; the name of
    the checkpoint is kept without its folder.
    """
    from convcore.weights import local_names

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
        },
        "extracted_from": match.checkpoint.path.name,
        "extraction_info": {
            "total_params": parameters,
            "trainable_params": parameters,
            "num_weights": len(state),
        },
    }


LAYOUT = Layout(
    "autoencoder",
    "height map autoencoder: a ResNet-50 encoder with attention, and its decoder",
    (
        Component("encoder", "encoder.", file="encoder_weights"),
        Component("decoder", "decoder.", role="training", required=False),
    ),
    schema=make_schema,
    configure=configure,
    graphs=graphs,
    options={"image_size": f"size of the exported graph, N or HxW; the file's, else {_IMAGE_SIZE}"},
    weights=weights,
    state_dict_file="best_model_weights.pth",
    nets=_HERE / "nets.py",
)


@hookimpl
def convcore_layouts() -> list[Layout]:
    """Declare the layout."""
    return [LAYOUT]


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
