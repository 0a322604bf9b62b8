"""ETM's networks in plain torch: two encoders, a product of Gaussians, one decoder.

Source of formulas and names: github.com/ziran-ai/ColorRAG (MultiOmicsETM), written anew from its
description. Dropout is left out, its place in the sequences kept: it does nothing when a trained
model is used. B is the batch, K topics, C colour values, V words, L embedding, H hidden units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

Gaussian = tuple[torch.Tensor, torch.Tensor]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh
}  # fmt: skip


class Kind(NamedTuple):
    """What no tensor shows of the networks.

    Attributes:
        activation: ``relu``, ``gelu``, ``silu`` or ``tanh``.
        norm_eps: What batch normalisation adds to the variance.
        fuse_eps: What the product of Gaussians adds to every denominator and before the logarithm.
        missing_logvar: Log-variance that stands, with mean 0, for a side that is not there.
    """

    activation: str = "relu"
    norm_eps: float = 1e-5
    fuse_eps: float = 1e-10
    missing_logvar: float = 10.0

    def active(self) -> nn.Module:
        """Return the activation; ValueError for one that is not computed."""
        if self.activation not in _ACTIVATIONS:
            raise ValueError(f"the activation {self.activation!r} is not computed here")
        return _ACTIVATIONS[self.activation]()


def trunk(features: int, hidden: int, kind: Kind) -> nn.Sequential:
    """Return the layers that map (B, features) to (B, hidden // 2)."""
    half = hidden // 2
    return nn.Sequential(
        nn.Linear(features, hidden),
        nn.BatchNorm1d(hidden, kind.norm_eps),
        kind.active(),
        nn.Identity(),
        nn.Linear(hidden, half),
        nn.BatchNorm1d(half, kind.norm_eps),
        kind.active(),
        nn.Identity(),
    )


class ColorEncoder(nn.Module):
    """``color`` (B, C), values 0 to 1, to ``mu`` and ``logvar`` (B, K)."""

    def __init__(self, color_dim: int, hidden_dim: int, num_topics: int, **kind: Any) -> None:
        super().__init__()
        self.color_encoder = trunk(color_dim, hidden_dim, Kind(**kind))
        self.color_mean = nn.Linear(hidden_dim // 2, num_topics)
        self.color_logvar = nn.Linear(hidden_dim // 2, num_topics)

    def forward(self, color: torch.Tensor) -> Gaussian:
        """Return mean and log-variance of the topics before softmax."""
        hidden = self.color_encoder(color)
        return self.color_mean(hidden), self.color_logvar(hidden)


class TextEncoder(nn.Module):
    """``text`` (B, V), TF-IDF rows, to ``mu`` and ``logvar`` (B, K)."""

    def __init__(self, text_dim: int, hidden_dim: int, num_topics: int, **kind: Any) -> None:
        super().__init__()
        self.text_encoder = trunk(text_dim, hidden_dim, Kind(**kind))
        self.text_mean = nn.Linear(hidden_dim // 2, num_topics)
        self.text_logvar = nn.Linear(hidden_dim // 2, num_topics)

    def forward(self, text: torch.Tensor) -> Gaussian:
        """Return mean and log-variance of the topics before softmax."""
        hidden = self.text_encoder(text)
        return self.text_mean(hidden), self.text_logvar(hidden)


class Decoder(nn.Module):
    """``theta`` (B, K) to ``recon_color`` (B, C), ``recon_text`` (B, V) and ``score`` (B, 1).

    ``theta alpha rho`` is taken from the left, so that the two factors stay what they are in an
    exported graph and (K, V) is never computed.
    """

    def __init__(
        self,
        num_topics: int,
        color_dim: int,
        text_dim: int,
        embedding_dim: int,
        score_dim: int,
        **kind: Any,
    ) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(num_topics, embedding_dim))
        self.rho_color = nn.Parameter(torch.zeros(embedding_dim, color_dim))
        self.rho_text = nn.Parameter(torch.zeros(embedding_dim, text_dim))
        self.lambda_color = nn.Parameter(torch.zeros(1, color_dim))
        self.lambda_text = nn.Parameter(torch.zeros(1, text_dim))
        self.score_predictor = nn.Sequential(
            nn.Linear(num_topics, score_dim),
            Kind(**kind).active(),
            nn.Identity(),
            nn.Linear(score_dim, 1),
        )

    def color(self, theta: torch.Tensor) -> torch.Tensor:
        """Return the colours (B, C), 0 to 1, that a mixture of topics stands for."""
        return torch.sigmoid(theta @ self.alpha @ self.rho_color + self.lambda_color)

    def words(self, theta: torch.Tensor) -> torch.Tensor:
        """Return the distribution (B, V) over words that a mixture of topics stands for."""
        return torch.softmax(theta @ self.alpha @ self.rho_text + self.lambda_text, dim=-1)

    def score(self, theta: torch.Tensor) -> torch.Tensor:
        """Return the score (B, 1) on training's min-max scale, which no file keeps."""
        out: torch.Tensor = self.score_predictor(theta)
        return out

    def forward(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decode everything."""
        return self.color(theta), self.words(theta), self.score(theta)


def fuse(one: Gaussian, other: Gaussian, tiny: float = Kind().fuse_eps) -> Gaussian:
    """Return the product of two Gaussians, each a mean and a log-variance (B, K)."""
    (mu_1, logvar_1), (mu_2, logvar_2) = one, other
    v_1, v_2 = logvar_1.exp(), logvar_2.exp()
    v = v_1 * v_2 / (v_1 + v_2 + tiny)
    mu = v * (mu_1 / (v_1 + tiny) + mu_2 / (v_2 + tiny))
    return mu, torch.log(v + tiny)


def unknown(like: Gaussian, logvar: float = Kind().missing_logvar) -> Gaussian:
    """Return what stands for a side that is not there: mean 0 and this log-variance."""
    return torch.zeros_like(like[0]), torch.full_like(like[1], logvar)


class TextToColor(nn.Module):
    """``text`` (B, V) alone to ``theta`` (B, K), ``recon_color`` (B, C) and ``score`` (B, 1).

    Args:
        zero: Whether a row of zeros goes through the colour encoder in place of the missing side,
            instead of the vague Gaussian.
        kind: Fields of ``Kind``.
    """

    def __init__(
        self,
        num_topics: int,
        color_dim: int,
        text_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        zero: bool = False,
        **kind: Any,
    ) -> None:
        super().__init__()
        self.kind = Kind(**kind)
        self.text_encoder = TextEncoder(text_dim, hidden_dim, num_topics, **kind)
        self.decoder = Decoder(
            num_topics, color_dim, text_dim, embedding_dim, hidden_dim // 4, **kind
        )
        self.zeros = (1, color_dim)
        self.color_encoder = (
            ColorEncoder(color_dim, hidden_dim, num_topics, **kind) if zero else None
        )

    def forward(self, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode, stand in for the colours, decode."""
        known: Gaussian = self.text_encoder(text)
        color = self.color_encoder
        vague = self.kind.missing_logvar
        missing = unknown(known, vague) if color is None else color(text.new_zeros(self.zeros))
        theta = torch.softmax(fuse(missing, known, self.kind.fuse_eps)[0], dim=-1)
        return theta, self.decoder.color(theta), self.decoder.score(theta)


class ColorToText(nn.Module):
    """``color`` (B, C) alone to ``theta`` (B, K), ``recon_text`` (B, V) and ``score`` (B, 1).

    Args:
        zero: As for ``TextToColor``, with the text encoder.
        kind: Fields of ``Kind``.
    """

    def __init__(
        self,
        num_topics: int,
        color_dim: int,
        text_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        zero: bool = False,
        **kind: Any,
    ) -> None:
        super().__init__()
        self.kind = Kind(**kind)
        self.color_encoder = ColorEncoder(color_dim, hidden_dim, num_topics, **kind)
        self.decoder = Decoder(
            num_topics, color_dim, text_dim, embedding_dim, hidden_dim // 4, **kind
        )
        self.zeros = (1, text_dim)
        self.text_encoder = TextEncoder(text_dim, hidden_dim, num_topics, **kind) if zero else None

    def forward(self, color: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode, stand in for the text, decode."""
        known: Gaussian = self.color_encoder(color)
        text = self.text_encoder
        vague = self.kind.missing_logvar
        missing = unknown(known, vague) if text is None else text(color.new_zeros(self.zeros))
        theta = torch.softmax(fuse(known, missing, self.kind.fuse_eps)[0], dim=-1)
        return theta, self.decoder.words(theta), self.decoder.score(theta)


class Full(nn.Module):
    """``color`` and ``text`` to ``recon_color, recon_text, score, theta, mu, logvar``."""

    def __init__(
        self,
        num_topics: int,
        color_dim: int,
        text_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        **kind: Any,
    ) -> None:
        super().__init__()
        self.kind = Kind(**kind)
        self.color_encoder = ColorEncoder(color_dim, hidden_dim, num_topics, **kind)
        self.text_encoder = TextEncoder(text_dim, hidden_dim, num_topics, **kind)
        self.decoder = Decoder(
            num_topics, color_dim, text_dim, embedding_dim, hidden_dim // 4, **kind
        )

    def forward(self, color: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Encode both sides, multiply, decode; the outputs come in the origin's order."""
        both = self.color_encoder(color), self.text_encoder(text)
        mu, logvar = fuse(*both, self.kind.fuse_eps)
        theta = torch.softmax(mu, dim=-1)
        return (*self.decoder(theta), theta, mu, logvar)
