"""Every key an AutoEncoder checkpoint has, with symbolic widths, and the widths read back.

The origin hard-codes all widths but two; they are read from the tensors here, so that a narrower
network of the same keys is understood as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from convcore.model import Schema, Shape, TensorSpec
from convcore.schema import solve

_STAGES = (1, 2, 3, 4)
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

_Entries = Iterator[tuple[str, Shape]]


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
    shapes = _under("encoder.", _encoder(encoder_blocks(tensors), _shortcut(tensors)))
    decoder = _under("decoder.", _decoder(attended_blocks(tensors)))
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
        "planes": _sizes(sizes, "planes", _STAGES),
        "outputs": _sizes(sizes, "outputs", _STAGES),
        "blocks": list(encoder_blocks(names)),
        "reduced": _sizes(sizes, "reduced", _STAGES[:3]),
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
        for stage, default in zip(_STAGES, _BLOCKS, strict=True)
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


def _under(prefix: str, entries: _Entries) -> dict[str, Shape]:
    return {prefix + key: shape for key, shape in entries}


def _norm(name: str, size: int | str) -> _Entries:
    for entry in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{entry}", (size,)
    yield f"{name}.num_batches_tracked", ()


def _layer(name: str, *shape: int | str) -> _Entries:
    """A convolution or linear layer with a bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", (shape[0],)


def _attention(name: str, channels: str, reduced: str) -> _Entries:
    yield f"{name}.gamma", (1,)
    yield from _layer(f"{name}.spatial_conv.0", 1, channels, 1, 1)
    yield from _norm(f"{name}.spatial_conv.1", 1)
    yield from _layer(f"{name}.spatial_conv.3", 1, 1, 3, 3)
    yield from _layer(f"{name}.channel_attention.1", reduced, channels, 1, 1)
    yield from _layer(f"{name}.channel_attention.3", channels, reduced, 1, 1)


def _encoder(blocks: Iterable[int], shortcut: bool) -> _Entries:
    yield "stem.0.weight", ("stem_0", "input_channels", 3, 3)
    yield from _norm("stem.1", "stem_0")
    yield "stem.3.weight", ("stem_1", "stem_0", 7, 7)
    yield from _norm("stem.4", "stem_1")
    inputs = "stem_1"
    for stage, count in zip(_STAGES, blocks, strict=True):
        planes, outputs = f"planes_{stage}", f"outputs_{stage}"
        for block in range(count):
            name = f"layer{stage}.{block}"
            yield f"{name}.conv1.weight", (planes, outputs if block else inputs, 1, 1)
            yield from _norm(f"{name}.bn1", planes)
            yield f"{name}.conv2.weight", (planes, planes, 3, 3)
            yield from _norm(f"{name}.bn2", planes)
            yield f"{name}.conv3.weight", (outputs, planes, 1, 1)
            yield from _norm(f"{name}.bn3", outputs)
            if block == 0 and (shortcut or stage > 1):
                yield f"{name}.downsample.0.weight", (outputs, inputs, 1, 1)
                yield from _norm(f"{name}.downsample.1", outputs)
        inputs = outputs
    for stage in _STAGES[:3]:
        yield from _attention(f"attention{stage}", f"outputs_{stage}", f"reduced_{stage}")
    yield "se_block.fc.0.weight", ("squeezed", "outputs_4")
    yield "se_block.fc.2.weight", ("outputs_4", "squeezed")
    yield from _layer("depth_enhance.0", "enhanced_0", "outputs_4", 3, 3)
    yield from _norm("depth_enhance.1", "enhanced_0")
    yield from _layer("depth_enhance.3", "enhanced_1", "enhanced_0", 3, 3)
    yield from _norm("depth_enhance.4", "enhanced_1")
    yield from _layer("multiscale_fusion.0", "fused", "enhanced_1", 1, 1)
    yield from _norm("multiscale_fusion.1", "fused")
    yield from _layer("fc.0", "hidden_0", "pooled")
    yield from _layer("fc.3", "hidden_1", "hidden_0")
    yield from _layer("fc.6", "latent_dim", "hidden_1")


def _decoder(attended: Iterable[bool]) -> _Entries:
    for index, name in enumerate(("global_fc", "spatial_fc")):
        yield from _layer(f"{name}.0", f"decoder_hidden_{index}", "latent_dim")
        yield from _layer(f"{name}.3", f"4*maps_{index}", f"decoder_hidden_{index}")
    yield from _layer("spatial_fusion.0", "fusion_0", "maps", 3, 3)
    yield from _norm("spatial_fusion.1", "fusion_0")
    yield from _layer("spatial_fusion.3", "fusion_1", "fusion_0", 1, 1)
    yield from _norm("spatial_fusion.4", "fusion_1")
    yield from _attention("spatial_fusion.6", "fusion_1", "fusion_reduced")
    # A transposed convolution stores its inputs first; its bias has the outputs.
    yield "spatial_upsample.0.weight", ("fusion_1", "upsampled", 2, 2)
    yield "spatial_upsample.0.bias", ("upsampled",)
    yield from _norm("spatial_upsample.1", "upsampled")
    yield "initial_conv.0.weight", ("width_0", "upsampled", 3, 3)
    yield from _norm("initial_conv.1", "width_0")
    yield from _attention("initial_conv.3", "width_0", "initial_reduced")
    inputs = "width_0"
    for block, has_attention in enumerate(attended):
        name, outputs = f"decoder_blocks.{block}", f"width_{block + 1}"
        yield f"{name}.upsample.0.weight", (inputs, inputs, 2, 2)
        yield from _norm(f"{name}.upsample.1", inputs)
        yield f"{name}.conv_block.0.weight", (outputs, inputs, 3, 3)
        yield from _norm(f"{name}.conv_block.1", outputs)
        yield f"{name}.conv_block.3.weight", (outputs, outputs, 3, 3)
        yield from _norm(f"{name}.conv_block.4", outputs)
        yield f"{name}.conv_block.6.weight", (outputs, outputs, 1, 1)
        yield from _norm(f"{name}.conv_block.7", outputs)
        if has_attention:
            yield from _attention(f"{name}.attention", outputs, f"block_reduced_{block}")
        yield f"{name}.se.alpha", (1,)
        yield from _layer(f"{name}.se.fc.0", f"block_squeezed_{block}", outputs)
        yield from _layer(f"{name}.se.fc.2", outputs, f"block_squeezed_{block}")
        inputs = outputs
    yield from _layer("final_conv.0", "final_0", inputs, 3, 3)
    yield from _layer("final_conv.2", "final_1", "final_0", 1, 1)
    yield from _attention("final_conv.4", "final_1", "final_reduced")
    yield from _layer("final_conv.5", "final_2", "final_1", 3, 3)
    yield from _layer("final_conv.7", "final_3", "final_2", 3, 3)
    yield from _layer("final_conv.9", "input_channels", "final_3", 1, 1)
