"""UMC's networks in plain torch; BERT comes from transformers and is built only when asked for.

Source of formulas and names: github.com/thuiar/UMC (backbones/FusionNets/UMC.py and the sequence
encoder below backbones/SubNets), written anew from its description. Dropout is left out: it does
nothing when a trained model is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
}


def sinusoid(length: int, width: int) -> torch.Tensor:
    """Return fairseq's position vectors (length, width) of the positions 1 to ``length``.

    All sines come first, then all cosines; an odd width ends in one zero. ``width`` is at least 4.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(math.log(10000.0) / (half - 1)))
    angles = torch.arange(1, length + 1).unsqueeze(1) * frequencies
    vectors = torch.cat([angles.sin(), angles.cos()], dim=1)
    return functional.pad(vectors, (0, width % 2))


class Attention(nn.Module):
    """Self-attention with q, k and v packed in one projection; (B, T, D) to (B, T, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        """Attend; ``hidden`` (T, T) is True where a step must not look, None lets it see all."""
        packed = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (
            part.view(*part.shape[:2], self.heads, -1).transpose(1, 2)  # (B, heads, T, D / heads)
            for part in packed.chunk(3, dim=-1)
        )
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -math.inf)
        mixed: torch.Tensor = self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return mixed


class EncoderLayer(nn.Module):
    """One pre-norm layer: attention, then a feed-forward block four times as wide."""

    def __init__(self, width: int, heads: int, activation: str, norm_eps: float) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.active = _ACTIVATIONS[activation]
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.layer_norms = nn.ModuleList(nn.LayerNorm(width, norm_eps) for _ in range(2))

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        """Map (B, T, D) to (B, T, D)."""
        x = x + self.self_attn(self.layer_norms[0](x), hidden)
        wide = self.active(self.fc1(self.layer_norms[1](x)))
        out: torch.Tensor = x + self.fc2(wide)
        return out


class SequenceEncoder(nn.Module):
    """Transformer over a sequence of fixed length; (B, T, D) to (B, T, D).

    The length is part of the model: padding is not masked, so another length gives other values.
    """

    positions: torch.Tensor
    future: torch.Tensor | None

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        length: int,
        *,
        causal: bool,
        version: bool,
        encoder_activation: str = "relu",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.scale = math.sqrt(width)
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, encoder_activation, norm_eps) for _ in range(layers)
        )
        self.layer_norm = nn.LayerNorm(width, norm_eps)
        if version:  # a number the origin writes and never reads; here so that strict loading works
            self.register_buffer("version", torch.tensor([2.0]))
        self.register_buffer("positions", sinusoid(length, width), persistent=False)
        future = torch.ones(length, length, dtype=torch.bool).triu(1) if causal else None
        self.register_buffer("future", future, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode every step; one whose channel 0 is exactly 0 counts as padding: no position."""
        no_position = torch.zeros_like(self.positions)
        x = self.scale * x + torch.where(x[..., :1] == 0, no_position, self.positions)
        for layer in self.layers:
            x = layer(x, self.future)
        out: torch.Tensor = self.layer_norm(x)
        return out


class VideoEncoder(nn.Module):
    """``video`` (B, T, features) to ``video_feature`` (B, D): the last step of the encoder."""

    def __init__(self, features: int, width: int, **encoder: Any) -> None:
        super().__init__()
        self.video_layer = nn.Linear(features, width)
        self.v_encoder = SequenceEncoder(width, **encoder)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        """Encode, and keep the last of the T steps."""
        steps: torch.Tensor = self.v_encoder(self.video_layer(video))
        return steps[:, -1]


class AudioEncoder(nn.Module):
    """``audio`` (B, T, features) to ``audio_feature`` (B, D): the last step of the encoder."""

    def __init__(self, features: int, width: int, **encoder: Any) -> None:
        super().__init__()
        self.audio_layer = nn.Linear(features, width)
        self.a_encoder = SequenceEncoder(width, **encoder)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Encode, and keep the last of the T steps."""
        steps: torch.Tensor = self.a_encoder(self.audio_layer(audio))
        return steps[:, -1]


class TextEmbedding(nn.Module):
    """BERT; (B, 3, L) integers, ids, mask and segments on axis 1, to (B, L, hidden)."""

    def __init__(self, **bert: Any) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        # sdpa differs between torch and onnxruntime in rows whose mask is all zero; eager does not
        self.bert = BertModel(BertConfig(**bert, attn_implementation="eager"))

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Return the last hidden state; the pooler is loaded with the rest and never used."""
        ids, mask, segments = text.unbind(1)
        states: torch.Tensor = self.bert(
            input_ids=ids, attention_mask=mask, token_type_ids=segments
        ).last_hidden_state
        return states


class TextEncoder(nn.Module):
    """``text`` (B, 3, L) integers to ``text_feature`` (B, D): BERT's first position, projected."""

    def __init__(self, width: int, **bert: Any) -> None:
        super().__init__()
        self.text_embedding = TextEmbedding(**bert)
        self.text_layer = nn.Linear(bert["hidden_size"], width)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Project the state of the [CLS] token, which the pooler has not touched."""
        feature: torch.Tensor = self.text_layer(self.text_embedding(text)[:, 0])
        return feature


class Fusion(nn.Linear):
    """Three features (B, D) to ``features`` (B, D), joined in an order of their names."""

    def __init__(self, width: int, order: str, activation: str) -> None:
        super().__init__(3 * width, width)
        self.order = [("text", "audio", "video").index(name) for name in order.split("-")]
        self.active = _ACTIVATIONS[activation]

    def forward(  # type: ignore[override]  # it takes the three that it joins
        self, text: torch.Tensor, audio: torch.Tensor, video: torch.Tensor
    ) -> torch.Tensor:
        """Join, activate, project; GELU is the erf form."""
        features = (text, audio, video)
        joined = torch.cat([features[place] for place in self.order], dim=-1)
        return super().forward(self.active(joined))


class MlpHead(nn.Linear):
    """``features`` (B, D) to ``mlp_output`` (B, D), on which the contrastive losses act."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__(width, width)
        self.active = _ACTIVATIONS[activation]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Activate, then project."""
        return super().forward(self.active(features))


class Full(nn.Module):
    """The whole model: ``text``, ``video``, ``audio`` to ``features`` and ``mlp_output``."""

    def __init__(
        self,
        text: dict[str, Any],
        video: dict[str, Any],
        audio: dict[str, Any],
        width: int,
        fusion_order: str = "text-audio-video",
        fusion_activation: str = "gelu",
        head_activation: str = "relu",
    ) -> None:
        super().__init__()
        self.text_encoder = TextEncoder(**text)
        self.video_encoder = VideoEncoder(**video)
        self.audio_encoder = AudioEncoder(**audio)
        self.fusion = Fusion(width, fusion_order, fusion_activation)
        self.mlp_head = MlpHead(width, head_activation)

    def forward(
        self, text: torch.Tensor, video: torch.Tensor, audio: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode each modality, join them; arguments come as text, video, audio."""
        features = self.fusion(
            self.text_encoder(text), self.audio_encoder(audio), self.video_encoder(video)
        )
        return features, self.mlp_head(features)
