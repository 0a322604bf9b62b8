"""The AutoEncoder written down a second time, as plain functions over a state dict.

An oracle for the tests: it shares no code with the plugin and takes its stages, blocks and widths
from the keys. Checked itself against numbers of the real network (the slow tests).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

DATA = Path(__file__).parents[1] / "data" / "autoencoder"
State = Mapping[str, torch.Tensor]
SHAPES: dict[str, list[int]] = json.loads((DATA / "state_dict_shapes.json").read_text())


def narrow_shapes(divisor: int = 16) -> dict[str, list[int]]:
    """Divide every width of 64 and more; kernels and the smallest widths stay as they are."""
    return {
        key: [size // divisor if size >= 64 else size for size in shape]
        for key, shape in SHAPES.items()
    }


def build_state(shapes: Mapping[str, list[int]]) -> dict[str, torch.Tensor]:
    """Fill the shapes by a written rule, so that the golden numbers can be had again.

    Per key ``r = RandomState(crc32(key))``: counters 100; running variances 0.5 + uniform; running
    means 0.1, biases 0.02 times normal; gamma 0.1, alpha 0.5 plus 0.02 times normal; batch-norm
    scales 1 (0.3 for ``bn3``) plus 0.05 times normal; other weights normal times sqrt(2 / fan-in).
    """
    state = {}
    for key, shape in shapes.items():
        r = np.random.RandomState(zlib.crc32(key.encode()))
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(100)
            continue
        if key.endswith("running_var"):
            value = 0.5 + r.random_sample(shape)
        elif key.endswith("running_mean"):
            value = 0.1 * r.standard_normal(shape)
        elif key.endswith(("gamma", "alpha")):
            value = (0.1 if key.endswith("gamma") else 0.5) + 0.02 * r.standard_normal(shape)
        elif key.endswith("bias"):
            value = 0.02 * r.standard_normal(shape)
        elif len(shape) == 1:
            value = (0.3 if key.endswith("bn3.weight") else 1.0) + 0.05 * r.standard_normal(shape)
        else:
            value = r.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        state[key] = torch.from_numpy(np.asarray(value, dtype=np.float32))
    return state


def embed(state: State, image: torch.Tensor) -> torch.Tensor:
    """(batch, c, h, w) to (batch, latent), in double precision."""
    s = _doubled(state, "encoder.")
    x = image.double()
    x = F.relu(_norm(s, "stem.1", F.conv2d(x, s["stem.0.weight"], padding=1)))
    x = F.relu(_norm(s, "stem.4", F.conv2d(x, s["stem.3.weight"], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in s:
            x = _bottleneck(s, f"layer{stage}.{block}", x, 2 if stage > 1 and block == 0 else 1)
            block += 1
        if stage < 4:
            x = _attention(s, f"attention{stage}", x)
    gate = F.relu(x.mean((2, 3)) @ s["se_block.fc.0.weight"].T) @ s["se_block.fc.2.weight"].T
    x = x * torch.sigmoid(gate)[..., None, None]
    e = F.relu(_norm(s, "depth_enhance.1", _conv(s, "depth_enhance.0", x, 1)))
    e = F.relu(_norm(s, "depth_enhance.4", _conv(s, "depth_enhance.3", e, 1)))
    u = F.relu(_norm(s, "multiscale_fusion.1", _conv(s, "multiscale_fusion.0", e)))
    pooled = [F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, 2), F.adaptive_avg_pool2d(u, 2)]
    y = torch.cat([part.flatten(1) for part in pooled], 1)
    return _linear(s, "fc.6", F.relu(_linear(s, "fc.3", F.relu(_linear(s, "fc.0", y)))))


def decode(state: State, embedding: torch.Tensor) -> torch.Tensor:
    """(batch, latent) to (batch, c, side, side), in double precision."""
    s = _doubled(state, "decoder.")
    z = embedding.double()
    halves = [
        _linear(s, f"{n}.3", F.relu(_linear(s, f"{n}.0", z))).reshape(len(z), -1, 2, 2)
        for n in ("global_fc", "spatial_fc")
    ]
    x = torch.cat(halves, 1)
    x = F.relu(_norm(s, "spatial_fusion.1", _conv(s, "spatial_fusion.0", x, 1)))
    x = F.relu(_norm(s, "spatial_fusion.4", _conv(s, "spatial_fusion.3", x)))
    x = _attention(s, "spatial_fusion.6", x)
    weight, bias = s["spatial_upsample.0.weight"], s["spatial_upsample.0.bias"]
    x = F.relu(_norm(s, "spatial_upsample.1", F.conv_transpose2d(x, weight, bias, stride=2)))
    x = F.relu(_norm(s, "initial_conv.1", F.conv2d(x, s["initial_conv.0.weight"], padding=1)))
    x = _attention(s, "initial_conv.3", x)
    block = 0
    while f"decoder_blocks.{block}.se.alpha" in s:
        name = f"decoder_blocks.{block}"
        x = F.conv_transpose2d(x, s[f"{name}.upsample.0.weight"], stride=2)
        x = F.relu(_norm(s, f"{name}.upsample.1", x))
        for layer, padding in ((0, 1), (3, 1), (6, 0)):
            x = F.conv2d(x, s[f"{name}.conv_block.{layer}.weight"], padding=padding)
            x = F.relu(_norm(s, f"{name}.conv_block.{layer + 1}", x))
        if f"{name}.attention.gamma" in s:
            x = _attention(s, f"{name}.attention", x)
        gate = _linear(s, f"{name}.se.fc.2", F.relu(_linear(s, f"{name}.se.fc.0", x.mean((2, 3)))))
        x = x * (1 + s[f"{name}.se.alpha"] * (torch.sigmoid(gate)[..., None, None] - 1))
        block += 1
    x = F.relu(_conv(s, "final_conv.2", F.relu(_conv(s, "final_conv.0", x, 1))))
    x = _attention(s, "final_conv.4", x)
    x = F.relu(_conv(s, "final_conv.7", F.relu(_conv(s, "final_conv.5", x, 1)), 1))
    return torch.tanh(_conv(s, "final_conv.9", x))


def _doubled(state: State, prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v.double() for k, v in state.items() if k.startswith(prefix)}


def _norm(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    mean, variance, scale, shift = (
        s[f"{name}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift


def _conv(s: State, name: str, x: torch.Tensor, padding: int = 0) -> torch.Tensor:
    return F.conv2d(x, s[f"{name}.weight"], s[f"{name}.bias"], padding=padding)


def _linear(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def _bottleneck(s: State, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    y = F.relu(_norm(s, f"{name}.bn1", F.conv2d(x, s[f"{name}.conv1.weight"])))
    y = F.conv2d(y, s[f"{name}.conv2.weight"], stride=stride, padding=1)
    y = F.conv2d(F.relu(_norm(s, f"{name}.bn2", y)), s[f"{name}.conv3.weight"])
    if f"{name}.downsample.0.weight" in s:
        x = F.conv2d(x, s[f"{name}.downsample.0.weight"], stride=stride)
        x = _norm(s, f"{name}.downsample.1", x)
    return F.relu(_norm(s, f"{name}.bn3", y) + x)


def _attention(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    pixel = F.relu(_norm(s, f"{name}.spatial_conv.1", _conv(s, f"{name}.spatial_conv.0", x)))
    pixel = torch.sigmoid(_conv(s, f"{name}.spatial_conv.3", pixel, 1))
    channel = _conv(s, f"{name}.channel_attention.1", x.mean((2, 3), keepdim=True))
    channel = torch.sigmoid(_conv(s, f"{name}.channel_attention.3", F.relu(channel)))
    gamma = s[f"{name}.gamma"]
    return gamma * (x * pixel * channel) + (1 - gamma) * x
