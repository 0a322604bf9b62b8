"""The four functions a UMC checkpoint can be exported to, and what each of them has to know."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from convcore.errors import LayoutError
from convcore.model import Axis, Graph, LayoutMatch
from convcore_umc.schema import has_version

if TYPE_CHECKING:
    import numpy as np
    import torch

_TEXT = ("bert_heads", "text_length")
_VIDEO = ("nheads", "attn_mask", "video_length")
_AUDIO = ("nheads", "attn_mask", "audio_length")
# The sinusoid divides by half the width, less one.
_NARROWEST = 4


def graphs(match: LayoutMatch) -> list[Graph]:
    """Return ``text_encoder``, ``video_encoder``, ``audio_encoder`` and ``full``."""
    width = match.value("base_dim")
    text = Axis("text", ("batch", 3, _length(match, "text")), "int64", _legal_text(match))
    video = Axis("video", ("batch", _length(match, "video"), match.value("video_dim")))
    audio = Axis("audio", ("batch", _length(match, "audio"), match.value("audio_dim")))
    parts = ("text_encoder", "video_encoder", "audio_encoder", "fusion", "mlp_head")

    def make(name: str, inputs: tuple[Axis, ...], outputs: tuple[str, ...], *needs: str) -> Graph:
        missing, refusal = _obstacle(match, name, needs)
        return Graph(
            name,
            parts if name == "full" else name,
            inputs,
            tuple(Axis(output, ("batch", width)) for output in outputs),
            _network(match, name) if refusal is None else _refused(refusal),
            refusal=refusal,
            missing=missing,
        )

    return [
        make("text_encoder", (text,), ("text_feature",), *_TEXT),
        make("video_encoder", (video,), ("video_feature",), *_VIDEO),
        make("audio_encoder", (audio,), ("audio_feature",), *_AUDIO),
        make(
            "full",
            (text, video, audio),
            ("features", "mlp_output"),
            *dict.fromkeys((*_TEXT, *_VIDEO, *_AUDIO)),
        ),
    ]


def _length(match: LayoutMatch, modality: str) -> int | str:
    """The fixed length, or its setting's name in a graph that is refused for want of it."""
    name = f"{modality}_length"
    return match.value(name) or name


def _obstacle(
    match: LayoutMatch, name: str, needs: tuple[str, ...]
) -> tuple[tuple[str, ...], str | None]:
    missing = tuple(need for need in needs if match.value(need) is None)
    if missing:
        options = ", ".join(f"--config {need}=…" for need in missing)
        instead = " (or --config bert_config=PATH)" if "bert_heads" in missing else ""
        return missing, (
            f"the tensors do not show {', '.join(missing)}, and a wrong value would pass every "
            f"comparison: give {options}{instead}"
        )
    if name != "text_encoder" and match.value("base_dim") < _NARROWEST:
        return (), f"a width of {match.value('base_dim')} has no sinusoid; 4 is the least"
    if name in ("text_encoder", "full") and importlib.util.find_spec("transformers") is None:
        return (), "BERT comes from transformers, which is not installed: pip install transformers"
    return (), None


def _refused(refusal: str) -> Callable[[], torch.nn.Module]:
    def network() -> torch.nn.Module:
        raise LayoutError(refusal, remedy="settle it with --config")

    return network


def _network(match: LayoutMatch, name: str) -> Callable[[], torch.nn.Module]:
    def network() -> torch.nn.Module:
        from convcore_umc import nets

        if name == "text_encoder":
            return nets.TextEncoder(**_text(match))
        if name == "video_encoder":
            return nets.VideoEncoder(**_sequence(match, "video"))
        if name == "audio_encoder":
            return nets.AudioEncoder(**_sequence(match, "audio"))
        video, audio = _sequence(match, "video"), _sequence(match, "audio")
        return nets.Full(_text(match), video, audio, match.value("base_dim"))

    return network


def _text(match: LayoutMatch) -> dict[str, Any]:
    """Arguments of ``nets.TextEncoder``: the width, then BERT's in transformers' names."""
    return {
        "width": match.value("base_dim"),
        "hidden_size": match.value("bert_hidden"),
        "num_hidden_layers": match.value("bert_layers"),
        "num_attention_heads": match.value("bert_heads"),
        "intermediate_size": match.value("bert_intermediate"),
        "vocab_size": match.value("bert_vocabulary"),
        "max_position_embeddings": match.value("bert_positions"),
        "type_vocab_size": match.value("bert_segments"),
        "hidden_act": match.value("bert_activation"),
        "layer_norm_eps": match.value("bert_layer_norm_eps"),
    }


def _sequence(match: LayoutMatch, modality: str) -> dict[str, Any]:
    return {
        "features": match.value(f"{modality}_dim"),
        "width": match.value("base_dim"),
        "heads": match.value("nheads"),
        "layers": match.value(f"{modality}_layers"),
        "length": match.value(f"{modality}_length"),
        "causal": match.value("attn_mask"),
        "version": has_version(match.checkpoint.tensors, modality),
    }


def _legal_text(
    match: LayoutMatch,
) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray[Any, Any]]:
    vocabulary, segments = match.value("bert_vocabulary"), match.value("bert_segments")

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Texts of several lengths, zero-padded at the end as a tokenizer pads them."""
        import numpy as np

        batch, _, length = shape
        used = np.arange(length) < rng.integers(1, length + 1, (batch, 1))
        second = np.arange(length) >= rng.integers(1, length + 1, (batch, 1))
        ids = rng.integers(0, vocabulary, (batch, length))
        return np.stack([ids * used, used, (second & used) * min(1, segments - 1)], axis=1)

    return draw
