"""What an AutoEncoder checkpoint should have, and the widths read back from its tensors.

The origin hard-codes all widths but two; they are read from the tensors here, so that a narrower
network of the same keys is understood as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from convcore import LayoutMatch, Schema, TensorSpec
from convcore.layouts.graph import Shape
from convcore.layouts.schema import solve
from convcore_autoencoder.keys import STAGES, decoder_keys, encoder_keys

_BLOCKS = (3, 4, 6, 3)  # the origin's, assumed where a stage has no key at all
_DECODER_BLOCKS = 5
# Fewer of a decoder's keys than this and it is another decoder beside the same encoder.
_OWN_DECODER = 0.5
# Inputs of encoder.fc.0 (one mean and a 2 x 2 pool, another 2 x 2 pool) and spatial_fusion.0.
_SUMS = {"pooled": {"outputs_4": 5, "fused": 4}, "maps": {"maps_0": 1, "maps_1": 1}}
# Widths that only two tensors show; this one of the two is believed first.
_PAIRED = (
    "encoder.se_block.fc.0.weight",
    "encoder.fc.6.weight",
    "decoder.global_fc.3.weight",
    "decoder.spatial_fc.3.weight",
)
_DOWNSAMPLE = "encoder.layer1.0.downsample."
_ATTENTION = re.compile(r"decoder\.decoder_blocks\.\d+\.attention\.")


def make_schema(tensors: Mapping[str, TensorSpec]) -> Schema:
    """Return all keys this checkpoint should have; block counts come from the largest index.

    A decoder is expected where at least half of one is there. Where two tensors contradict each
    other alone, the one whose fault explains more is put last, so that the other is believed.
    """
    schema = _schema(tensors)
    if solve(schema, tensors).misshapen:
        tried = [schema, *(_schema(tensors, doubted=key) for key in _PAIRED)]
        schema = min(tried, key=lambda attempt: len(solve(attempt, tensors).misshapen))
    return schema


def _schema(tensors: Mapping[str, TensorSpec], doubted: str = "") -> Schema:
    """Build the keys, with the two widths that are sums of others put in as numbers."""
    shapes = _under("encoder.", encoder_keys(encoder_blocks(tensors), _shortcut(tensors)))
    decoder = _under("decoder.", decoder_keys(attended_blocks(tensors)))
    if sum(key in tensors for key in decoder) >= _OWN_DECODER * len(decoder):
        shapes |= decoder
    if doubted in shapes:
        shapes[doubted] = shapes.pop(doubted)
    sizes = solve(Schema(shapes), tensors).sizes
    sums = {
        total: sum(times * sizes[name] for name, times in parts.items())
        for total, parts in _SUMS.items()
        if parts.keys() <= sizes.keys()
    }
    return Schema(
        {
            key: tuple(sums.get(axis, axis) if isinstance(axis, str) else axis for axis in shape)
            for key, shape in shapes.items()
        }
    )


def encoder_widths(sizes: Mapping[str, int], names: Iterable[str]) -> dict[str, Any]:
    """Return the widths that ``nets.Encoder`` takes by keyword."""
    return {
        "stem": _sizes(sizes, "stem", (0, 1)),
        "planes": _sizes(sizes, "planes", STAGES),
        "outputs": _sizes(sizes, "outputs", STAGES),
        "blocks": list(encoder_blocks(names)),
        "reduced": _sizes(sizes, "reduced", STAGES[:3]),
        "squeezed": sizes["squeezed"],
        "enhanced": _sizes(sizes, "enhanced", (0, 1)),
        "fused": sizes["fused"],
        "hidden": _sizes(sizes, "hidden", (0, 1)),
    }


def decoder_widths(sizes: Mapping[str, int], names: Iterable[str]) -> dict[str, Any]:
    """Return the widths that ``nets.Decoder`` takes by keyword."""
    attended = attended_blocks(names)
    blocks = range(len(attended))
    return {
        "hidden": _sizes(sizes, "decoder_hidden", (0, 1)),
        "maps": _sizes(sizes, "maps", (0, 1)),
        "fusion": _sizes(sizes, "fusion", (0, 1)),
        "fusion_reduced": sizes["fusion_reduced"],
        "upsampled": sizes["upsampled"],
        "initial": sizes["width_0"],
        "initial_reduced": sizes["initial_reduced"],
        "outputs": [sizes[f"width_{block + 1}"] for block in blocks],
        "reduced": [sizes[f"block_reduced_{b}"] if attended[b] else None for b in blocks],
        "squeezed": [sizes[f"block_squeezed_{block}"] for block in blocks],
        "final": _sizes(sizes, "final", (0, 1, 2, 3)),
        "final_reduced": sizes["final_reduced"],
    }


def encoder_blocks(names: Iterable[str]) -> tuple[int, ...]:
    """Count the bottlenecks of each of the four stages."""
    keys = list(names)
    return tuple(
        _count(keys, f"encoder.layer{stage}.", default)
        for stage, default in zip(STAGES, _BLOCKS, strict=True)
    )


def attended_blocks(names: Iterable[str]) -> tuple[bool, ...]:
    """Say of each decoder block whether it has an attention."""
    keys = list(names)
    prefix = "decoder.decoder_blocks."
    count = _count(keys, prefix, _DECODER_BLOCKS)
    with_attention = {key.split(".")[2] for key in keys if _ATTENTION.match(key)}
    return tuple(str(block) in with_attention for block in range(count))


def _count(keys: Iterable[str], prefix: str, default: int) -> int:
    """Count blocks by their largest index; an index far beyond the others is none of them."""
    indices = {
        int(index)
        for key in keys
        if key.startswith(prefix) and (index := key[len(prefix) :].partition(".")[0]).isdecimal()
        if len(index) < 6
    }
    return max((index + 1 for index in indices if index <= len(indices)), default=default)


def _shortcut(tensors: Mapping[str, TensorSpec]) -> bool:
    """Whether the first block of stage 1 changes the width; its stride is 1, so it need not."""
    first, last = (tensors.get(f"encoder.layer1.0.conv{n}.weight") for n in (1, 3))
    if first is None or last is None or any(_DOWNSAMPLE in key for key in tensors):
        return True
    return first.shape[1:2] != last.shape[:1]


def _sizes(sizes: Mapping[str, int], name: str, indices: Iterable[int]) -> list[int]:
    return [sizes[f"{name}_{index}"] for index in indices]


def _under(prefix: str, entries: Iterator[tuple[str, Shape]]) -> dict[str, Shape]:
    return {prefix + key: shape for key, shape in entries}


def has_decoder(match: LayoutMatch) -> bool:
    """Whether the decoder is the origin's: the schema then knew its widths."""
    return "final_reduced" in match.sizes
