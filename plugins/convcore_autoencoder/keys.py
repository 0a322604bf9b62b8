"""The keys of the two networks, in their order, with symbolic widths.

Facts: names and shapes of the origin's checkpoints (655 entries, 395 of them the encoder's).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from convcore.layouts.graph import Shape

STAGES = (1, 2, 3, 4)
_Entries = Iterator[tuple[str, Shape]]


def encoder_keys(blocks: Iterable[int], shortcut: bool) -> _Entries:
    """Yield the encoder's keys.

    Args:
        blocks: Bottlenecks per stage.
        shortcut: Whether the first block of stage 1 has a ``downsample``; later stages always do.
    """
    yield "stem.0.weight", ("stem_0", "input_channels", 3, 3)
    yield from _norm("stem.1", "stem_0")
    yield "stem.3.weight", ("stem_1", "stem_0", 7, 7)
    yield from _norm("stem.4", "stem_1")
    inputs = "stem_1"
    for stage, count in zip(STAGES, blocks, strict=True):
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
    for stage in STAGES[:3]:
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


def decoder_keys(attended: Iterable[bool]) -> _Entries:
    """Yield the decoder's keys; ``attended`` says of each block whether it has an attention."""
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
