"""Settings of an autoencoder: widths from the tensors, the image size from what was stored."""

from __future__ import annotations

from convcore.model import LayoutMatch
from convcore.settings import Settler, positive
from convcore_autoencoder.schema import decoder_widths, encoder_widths, has_decoder

_IMAGE_SIZE = 128
# A stored size beyond this is no image size: tracing it would exhaust the memory.
_LARGEST = 4096
OPTIONS = {"image_size": f"size of the exported graph, N or HxW; the file's, else {_IMAGE_SIZE}"}


def configure(match: LayoutMatch, settler: Settler) -> None:
    """Settle widths from the tensors and the image size, which no tensor shows."""
    stated, sizes, names = settler.hyper_parameters, match.sizes, match.checkpoint.tensors
    for name in ("input_channels", "latent_dim"):
        settler.from_shape(name, sizes[name], stated.get(name))
    _settle_image_size(settler)
    settler.from_shape("encoder_widths", encoder_widths(sizes, names))
    if has_decoder(match):
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


def _image_size(text: str) -> int | list[int]:
    """Read ``N`` or ``HxW``, in pixels; ValueError for anything else."""
    sizes = [positive(part) for part in text.lower().split("x")]
    if len(sizes) > 2:
        raise ValueError("write it as N or HxW")
    return sizes[0] if len(set(sizes)) == 1 else sizes
