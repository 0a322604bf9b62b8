"""Graphs of an autoencoder: the encoder at its image size, and the origin's decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from convcore import Axis, Graph, LayoutMatch
from convcore.layouts.graph import Role
from convcore_autoencoder.assumptions import IMAGE_SIZE
from convcore_autoencoder.schema import has_decoder

if TYPE_CHECKING:
    from torch import nn


def graphs(match: LayoutMatch) -> Iterator[Graph]:
    """Yield the encoder at its image size and, where there is one, the decoder."""
    size = match.value("image_size") or IMAGE_SIZE  # the graph of a size that is none is refused
    kind = match.otherwise("norm_eps")
    height, width = size if isinstance(size, list) else (size, size)
    channels, latent = match.value("input_channels"), match.value("latent_dim")
    image = Axis("image", ("batch", channels, height, width))
    embedding = Axis("embedding", ("batch", latent))
    arguments = {"input_channels": channels, "latent_dim": latent, **kind}
    arguments |= match.value("encoder_widths")
    yield _graph("encoder", "Encoder", arguments, image, embedding)
    if has_decoder(match):
        widths = match.value("decoder_widths")
        side = 4 * 2 ** len(widths["outputs"])
        image = Axis("image", ("batch", channels, side, side))
        arguments = {"latent_dim": latent, "output_channels": channels, **widths, **kind}
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
