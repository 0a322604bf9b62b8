"""Networks of the CycleGAN layout: the generators and discriminators of both versions.

Facts: key names, sizes and formulas as in Terbinm/CPC_server_collectorSYS, folder
``a_sub_system/train/py_cyclegan_original``, and the early ``PlMotorModule`` of the same author.
Only torch is needed, so that this file can travel with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn

SLOPE = 0.2
EPS = 1e-5
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
_OUTPUTS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "identity": nn.Identity
}  # fmt: skip


class Kind(NamedTuple):
    """What no tensor shows of the layers of a network.

    Attributes:
        activation: ``leaky_relu``, ``relu``, ``gelu`` or ``silu``.
        negative_slope: Of the leaky ReLU.
        norm_eps: What batch normalisation adds to the variance.
    """

    activation: str = "leaky_relu"
    negative_slope: float = SLOPE
    norm_eps: float = EPS

    def active(self) -> nn.Module:
        """Return the activation."""
        if self.activation == "leaky_relu":
            return nn.LeakyReLU(self.negative_slope)
        return _ACTIVATIONS[self.activation]()

    def norm(self, width: int) -> nn.Module:
        """Return the normalisation of a layer."""
        return nn.BatchNorm1d(width, self.norm_eps)


class Residual(nn.Module):
    """Two linear layers beside an identity: ``x + BN(W2 leaky(BN(W1 x)))``; always normalised."""

    def __init__(self, width: int, dropout: float, kind: Kind) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Linear(width, width),
            kind.norm(width),
            kind.active(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            kind.norm(width),
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
        output_activation: ``tanh``, ``sigmoid`` or ``identity``.
        kind: Fields of ``Kind``.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int],
        n_residual_blocks: int = 3,
        dropout: float = 0.1,
        use_batch_norm: bool = True,
        output_activation: str = "tanh",
        **kind: Any,
    ) -> None:
        super().__init__()
        *others, last = hidden_dims
        how = Kind(**kind)
        self.encoder = nn.Sequential(
            *_layers([input_dim, *others, last], dropout, use_batch_norm, how)
        )
        self.residual_blocks = nn.Sequential(
            *(Residual(last, dropout, how) for _ in range(n_residual_blocks))
        )
        mirrored = [last, *reversed(others)]
        self.decoder = nn.Sequential(
            *_layers(mirrored, dropout, use_batch_norm, how),
            nn.Linear(mirrored[-1], input_dim),
            _OUTPUTS[output_activation](),
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
        **kind: Any,
    ) -> None:
        super().__init__()
        layers = _layers([input_dim, *hidden_dims], dropout, use_batch_norm, Kind(**kind))
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
        output_activation: ``tanh``, ``sigmoid`` or ``identity``.
        kind: Fields of ``Kind``.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Sequence[int],
        output_activation: str = "tanh",
        **kind: Any,
    ) -> None:
        super().__init__()
        mirrored, how = list(reversed(hidden_dims)), Kind(**kind)
        self.encoder = nn.Sequential(*_early_layers([input_dim, *hidden_dims], how))
        self.decoder = nn.Sequential(
            *_early_layers(mirrored, how),
            nn.Linear(mirrored[-1], output_dim),
            _OUTPUTS[output_activation](),
        )

    def frames(self, rows: torch.Tensor) -> torch.Tensor:
        """Map (rows, input_dim) to (rows, output_dim)."""
        converted: torch.Tensor = self.decoder(self.encoder(rows))
        return converted


class EarlyDiscriminator(Framewise):
    """The early discriminator: a probability; its last hidden layer is not normalised."""

    def __init__(self, input_dim: int, hidden_dims: Sequence[int], **kind: Any) -> None:
        super().__init__()
        *normalised, last = hidden_dims
        widths, how = [input_dim, *normalised], Kind(**kind)
        self.model = nn.Sequential(
            *_early_layers(widths, how),
            nn.Linear(widths[-1], last),
            how.active(),
            nn.Linear(last, 1),
            nn.Sigmoid(),
        )

    def frames(self, rows: torch.Tensor) -> torch.Tensor:
        """Map (rows, input_dim) to (rows, 1), each in (0, 1)."""
        score: torch.Tensor = self.model(rows)
        return score


def _layers(
    widths: Sequence[int], dropout: float, use_batch_norm: bool, kind: Kind
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        norm = kind.norm(after) if use_batch_norm else nn.Identity()
        layers += [nn.Linear(before, after), norm, kind.active(), nn.Dropout(dropout)]
    return layers


def _early_layers(widths: Sequence[int], kind: Kind) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), kind.active(), kind.norm(after)]
    return layers
