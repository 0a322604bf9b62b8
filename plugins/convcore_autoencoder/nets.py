"""The networks of the AutoEncoder layout, under the key names its checkpoints have.

Self-contained torch: this file can be copied beside an ``encoder_weights.pth`` and used alone.
Key names, shapes and formulas are those of the origin's checkpoints (a ResNet-50 without its top,
behind a deeper stem, with attention after the first three stages); every width is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def _conv(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, bias: bool = False
) -> list[nn.Module]:
    """Convolution that keeps the size (but for its stride), batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _widen(inputs: int, outputs: int, *, bias: bool = False) -> list[nn.Module]:
    """Transposed convolution that doubles height and width, batch norm, ReLU."""
    return [
        nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=bias),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def _pool_2x2(x: torch.Tensor) -> torch.Tensor:
    """Average (batch, c, h, w) over its four, for odd sizes overlapping, quarters: (batch, 4c).

    The same numbers as an adaptive average pool to 2 x 2, flattened channel-major. Written with
    means, because exporters either refuse the adaptive pool or freeze the traced size into it.
    """
    height, width = x.shape[2], x.shape[3]
    top, bottom = x[:, :, : (height + 1) // 2], x[:, :, height // 2 :]
    left, right = slice(0, (width + 1) // 2), slice(width // 2, width)
    quarters = [half[..., side].mean((2, 3)) for half in (top, bottom) for side in (left, right)]
    return torch.stack(quarters, 2).flatten(1)


def set_norm_eps(network: nn.Module, eps: float) -> None:
    """Let every batch normalisation add this to the variance."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps


class Bottleneck(nn.Module):
    """Residual block of three convolutions; the middle one carries the stride."""

    def __init__(self, inputs: int, planes: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(*_conv(inputs, outputs, 1, stride=stride)[:2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, h / stride, w / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        shortcut = x if self.downsample is None else self.downsample(x)
        summed: torch.Tensor = self.bn3(self.conv3(y)) + shortcut
        return torch.relu(summed)


class Attention(nn.Module):
    """Gates every pixel and every channel: ``gamma * x * s * k + (1 - gamma) * x``."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((1,), 0.1))
        self.spatial_conv = nn.Sequential(
            *_conv(channels, 1, 1, bias=True), nn.Conv2d(1, 1, 3, padding=1), nn.Sigmoid()
        )
        self.channel_attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, reduced, 1),
            nn.ReLU(),
            nn.Conv2d(reduced, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape (batch, channels, h, w)."""
        gated = x * (self.spatial_conv(x) * self.channel_attention(x))
        mixed: torch.Tensor = self.gamma * gated + (1 - self.gamma) * x
        return mixed


class SqueezeExcite(nn.Module):
    """Gates channels by their means; a ``mild`` one learns how much of the gate to apply."""

    def __init__(self, channels: int, reduced: int, *, mild: bool) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, reduced, bias=mild),
            nn.ReLU(),
            nn.Linear(reduced, channels, bias=mild),
            nn.Sigmoid(),
        )
        self.alpha = nn.Parameter(torch.full((1,), 0.5)) if mild else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape (batch, channels, h, w)."""
        gate: torch.Tensor = self.fc(x.mean((2, 3)))[:, :, None, None]
        return x * gate if self.alpha is None else x * (1 + self.alpha * (gate - 1))


class Encoder(nn.Module):
    """Height map to embedding; the defaults are the origin's only size, 81,368,298 parameters.

    Args:
        input_channels: Channels of the image.
        latent_dim: Numbers per embedding.
        stem: Channels after the two convolutions of the stem.
        planes: Inner channels of the bottlenecks, per stage.
        outputs: Channels after each stage.
        blocks: Bottlenecks per stage.
        reduced: Inner channels of the attention after each of the first three stages.
        squeezed: Inner width of the squeeze-and-excitation after the last stage.
        enhanced: Channels after the two convolutions of ``depth_enhance``.
        fused: Channels after ``multiscale_fusion``.
        hidden: Widths of the two hidden layers of ``fc``.
        dropout: Rate between those layers; matters in training only and is in no checkpoint.
        norm_eps: What batch normalisation adds to the variance.
    """

    def __init__(
        self,
        input_channels: int = 1,
        latent_dim: int = 768,
        *,
        stem: Sequence[int] = (32, 64),
        planes: Sequence[int] = (64, 128, 256, 512),
        outputs: Sequence[int] = (256, 512, 1024, 2048),
        blocks: Sequence[int] = (3, 4, 6, 3),
        reduced: Sequence[int] = (32, 64, 128),
        squeezed: int = 128,
        enhanced: Sequence[int] = (1024, 1024),
        fused: int = 512,
        hidden: Sequence[int] = (2048, 1024),
        dropout: float = 0.1,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_conv(input_channels, stem[0], 3),
            *_conv(stem[0], stem[1], 7, stride=2),
            nn.MaxPool2d(3, 2, 1),
        )
        inputs = (stem[1], *outputs[:3])
        stages = [
            nn.Sequential(
                Bottleneck(inputs[stage], planes[stage], outputs[stage], 2 if stage else 1),
                *(
                    Bottleneck(outputs[stage], planes[stage], outputs[stage], 1)
                    for _ in range(1, blocks[stage])
                ),
            )
            for stage in range(4)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.attention1 = Attention(outputs[0], reduced[0])
        self.attention2 = Attention(outputs[1], reduced[1])
        self.attention3 = Attention(outputs[2], reduced[2])
        self.se_block = SqueezeExcite(outputs[3], squeezed, mild=False)
        self.depth_enhance = nn.Sequential(
            *_conv(outputs[3], enhanced[0], 3, bias=True),
            *_conv(enhanced[0], enhanced[1], 3, bias=True),
        )
        self.multiscale_fusion = nn.Sequential(*_conv(enhanced[1], fused, 1, bias=True))
        self.fc = nn.Sequential(
            nn.Linear(5 * outputs[3] + 4 * fused, hidden[0]),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden[1], latent_dim),
        )
        set_norm_eps(self, norm_eps)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width), any size, to (batch, latent_dim)."""
        x = self.attention1(self.layer1(self.stem(image)))
        x = self.attention2(self.layer2(x))
        x = self.attention3(self.layer3(x))
        x = self.se_block(self.layer4(x))
        fused = self.multiscale_fusion(self.depth_enhance(x))
        features = torch.cat([x.mean((2, 3)), _pool_2x2(x), _pool_2x2(fused)], 1)
        embedding: torch.Tensor = self.fc(features)
        return embedding


class DecoderBlock(nn.Module):
    """Doubles height and width, refines with three convolutions, then gates."""

    def __init__(self, inputs: int, outputs: int, reduced: int | None, squeezed: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(*_widen(inputs, inputs))
        self.conv_block = nn.Sequential(
            *_conv(inputs, outputs, 3), *_conv(outputs, outputs, 3), *_conv(outputs, outputs, 1)
        )
        self.attention = None if reduced is None else Attention(outputs, reduced)
        self.se = SqueezeExcite(outputs, squeezed, mild=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, 2h, 2w)."""
        x = self.conv_block(self.upsample(x))
        if self.attention is not None:
            x = self.attention(x)
        gated: torch.Tensor = self.se(x)
        return gated


class Decoder(nn.Module):
    """Embedding to height map; the defaults are the origin's, an image of 128 x 128.

    Args:
        latent_dim: Numbers per embedding.
        output_channels: Channels of the image.
        hidden: Hidden widths of ``global_fc`` and ``spatial_fc``.
        maps: Channels of the 2 x 2 maps those two make.
        fusion: Channels after the two convolutions of ``spatial_fusion``.
        fusion_reduced: Inner channels of its attention.
        upsampled: Channels after ``spatial_upsample``.
        initial: Channels after ``initial_conv``.
        initial_reduced: Inner channels of its attention.
        outputs: Channels after each decoder block; the image is 4 x 2**blocks wide.
        reduced: Inner channels of each block's attention, None where a block has none.
        squeezed: Inner widths of the blocks' squeeze-and-excitation.
        final: Channels after the first four convolutions of ``final_conv``.
        final_reduced: Inner channels of its attention.
        dropout: Rate after the hidden layers; matters in training only and is in no checkpoint.
        norm_eps: What batch normalisation adds to the variance.
    """

    def __init__(
        self,
        latent_dim: int = 768,
        output_channels: int = 1,
        *,
        hidden: Sequence[int] = (1024, 512),
        maps: Sequence[int] = (1024, 512),
        fusion: Sequence[int] = (1024, 1024),
        fusion_reduced: int = 128,
        upsampled: int = 1024,
        initial: int = 1024,
        initial_reduced: int = 128,
        outputs: Sequence[int] = (512, 256, 128, 64, 32),
        reduced: Sequence[int | None] = (64, 32, None, None, None),
        squeezed: Sequence[int] = (32, 16, 8, 4, 2),
        final: Sequence[int] = (32, 32, 16, 8),
        final_reduced: int = 4,
        dropout: float = 0.1,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.global_fc, self.spatial_fc = (
            nn.Sequential(
                nn.Linear(latent_dim, width),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(width, 4 * channels),
            )
            for width, channels in zip(hidden, maps, strict=True)
        )
        self.spatial_fusion = nn.Sequential(
            *_conv(sum(maps), fusion[0], 3, bias=True),
            *_conv(fusion[0], fusion[1], 1, bias=True),
            Attention(fusion[1], fusion_reduced),
        )
        self.spatial_upsample = nn.Sequential(*_widen(fusion[1], upsampled, bias=True))
        self.initial_conv = nn.Sequential(
            *_conv(upsampled, initial, 3), Attention(initial, initial_reduced)
        )
        self.decoder_blocks = nn.ModuleList(
            DecoderBlock(*block)
            for block in zip((initial, *outputs[:-1]), outputs, reduced, squeezed, strict=True)
        )
        self.final_conv = nn.Sequential(
            nn.Conv2d(outputs[-1], final[0], 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(final[0], final[1], 1),
            nn.ReLU(),
            Attention(final[1], final_reduced),
            nn.Conv2d(final[1], final[2], 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(final[2], final[3], 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(final[3], output_channels, 1),
            nn.Tanh(),
        )
        set_norm_eps(self, norm_eps)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Map (batch, latent_dim) to (batch, channels, height, width), within -1 and 1."""
        maps = [
            part(embedding).unflatten(1, (-1, 2, 2)) for part in (self.global_fc, self.spatial_fc)
        ]
        x = self.spatial_upsample(self.spatial_fusion(torch.cat(maps, 1)))
        x = self.initial_conv(x)
        for block in self.decoder_blocks:
            x = block(x)
        image: torch.Tensor = self.final_conv(x)
        return image
