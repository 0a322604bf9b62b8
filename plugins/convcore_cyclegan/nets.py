"""Networks of the CycleGAN layout: the generators and discriminators of both versions.

Facts: key names, sizes and formulas as in Terbinm/CPC_server_collectorSYS, folder
``a_sub_system/train/py_cyclegan_original``, and the early ``PlMotorModule`` of the same author.
Only torch is needed, so that this file can travel with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

SLOPE = 0.2


class Residual(nn.Module):
    """Two linear layers beside an identity: ``x + BN(W2 leaky(BN(W1 x)))``; always normalised."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(SLOPE),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (rows, width) to (rows, width)."""
        y: torch.Tensor = x + self.block(x)
        return y


class Framewise(nn.Module):
    """A network of single frames, applied to every frame of a sequence by itself."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (..., channels in) to (..., channels out); every leading axis is one of frames."""
        rows = features.reshape(-1, features.shape[-1])
        return self.frames(rows).reshape(*features.shape[:-1], -1)

    def frames(self, rows: torch.Tensor) -> torch.Tensor:
        """Map (rows, channels in) to (rows, channels out)."""
        raise NotImplementedError


class Generator(Framewise):
    """Turns features of one domain into the other's, in (-1, 1).

    Args:
        input_dim: Channels of a frame.
        hidden_dims: Widths of the encoder; the decoder mirrors all but the last.
        n_residual_blocks: Residual blocks between the two, at the last width.
        dropout: Share of values dropped in training; without effect here.
        use_batch_norm: Whether encoder and decoder normalise; their indices stay the same.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int],
        n_residual_blocks: int = 3,
        dropout: float = 0.1,
        use_batch_norm: bool = True,
    ) -> None:
        super().__init__()
        *others, last = hidden_dims
        self.encoder = nn.Sequential(*_layers([input_dim, *others, last], dropout, use_batch_norm))
        self.residual_blocks = nn.Sequential(
            *(Residual(last, dropout) for _ in range(n_residual_blocks))
        )
        mirrored = [last, *reversed(others)]
        self.decoder = nn.Sequential(
            *_layers(mirrored, dropout, use_batch_norm),
            nn.Linear(mirrored[-1], input_dim),
            nn.Tanh(),
        )

    def frames(self, rows: torch.Tensor) -> torch.Tensor:
        """Map (rows, input_dim) to (rows, input_dim)."""
        converted: torch.Tensor = self.decoder(self.residual_blocks(self.encoder(rows)))
        return converted


class Discriminator(Framewise):
    """Scores frames, least squares: 1 for its own domain, 0 for a conversion; no sigmoid."""

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int],
        dropout: float = 0.2,
        use_batch_norm: bool = True,
    ) -> None:
        super().__init__()
        layers = _layers([input_dim, *hidden_dims], dropout, use_batch_norm)
        self.model = nn.Sequential(*layers, nn.Linear(hidden_dims[-1], 1))

    def frames(self, rows: torch.Tensor) -> torch.Tensor:
        """Map (rows, input_dim) to (rows, 1)."""
        score: torch.Tensor = self.model(rows)
        return score


class EarlyGenerator(Framewise):
    """The early generator: normalises after the activation, and reads a position with each frame.

    Args:
        input_dim: Channels of a frame, the position included.
        output_dim: Channels of a converted frame.
        hidden_dims: Widths of the encoder; the decoder mirrors all but the last.
    """

    def __init__(self, input_dim: int, output_dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        mirrored = list(reversed(hidden_dims))
        self.encoder = nn.Sequential(*_early_layers([input_dim, *hidden_dims]))
        self.decoder = nn.Sequential(
            *_early_layers(mirrored), nn.Linear(mirrored[-1], output_dim), nn.Tanh()
        )

    def frames(self, rows: torch.Tensor) -> torch.Tensor:
        """Map (rows, input_dim) to (rows, output_dim)."""
        converted: torch.Tensor = self.decoder(self.encoder(rows))
        return converted


class EarlyDiscriminator(Framewise):
    """The early discriminator: a probability; its last hidden layer is not normalised."""

    def __init__(self, input_dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        *normalised, last = hidden_dims
        widths = [input_dim, *normalised]
        self.model = nn.Sequential(
            *_early_layers(widths),
            nn.Linear(widths[-1], last),
            nn.LeakyReLU(SLOPE),
            nn.Linear(last, 1),
            nn.Sigmoid(),
        )

    def frames(self, rows: torch.Tensor) -> torch.Tensor:
        """Map (rows, input_dim) to (rows, 1), each in (0, 1)."""
        score: torch.Tensor = self.model(rows)
        return score


def _layers(widths: Sequence[int], dropout: float, use_batch_norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        norm = nn.BatchNorm1d(after) if use_batch_norm else nn.Identity()
        layers += [nn.Linear(before, after), norm, nn.LeakyReLU(SLOPE), nn.Dropout(dropout)]
    return layers


def _early_layers(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE), nn.BatchNorm1d(after)]
    return layers
