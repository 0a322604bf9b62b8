"""Settings of an autoencoder: widths from the tensors."""

from __future__ import annotations

from convcore import LayoutMatch, Settler
from convcore_autoencoder.schema import decoder_widths, encoder_widths, has_decoder


def configure(match: LayoutMatch, settler: Settler) -> None:
    """Settle widths from the tensors, and how images are scaled, which no file says."""
    stated, sizes, names = settler.hyper_parameters, match.sizes, match.checkpoint.tensors
    for name in ("input_channels", "latent_dim"):
        settler.from_shape(name, sizes[name], stated.get(name))
    settler.from_shape("encoder_widths", encoder_widths(sizes, names))
    if has_decoder(match):
        settler.from_shape("decoder_widths", decoder_widths(sizes, names))
    elif "decoder" in match.states:
        settler.note("the decoder is of another architecture: written as it is, never exported")
    if settler.assume("input_scaling") is None:
        settler.note("no file says how images are scaled into -1 to 1: scale them as training did")
