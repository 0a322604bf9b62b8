"""The four functions a UMC checkpoint can be exported to, and what each of them has to know."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from convcore import Axis, Graph, LayoutError, LayoutMatch
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
        call = _call(match, name)
        return Graph(
            name,
            parts if name == "full" else name,
            inputs,
            tuple(Axis(output, ("batch", width)) for output in outputs),
            _network(*call) if refusal is None else _refused(refusal),
            call=call if refusal is None else None,
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
        # A published value that cannot be right here was passed over with a note beginning so.
        noted = [s for s in match.evidence if s.startswith(tuple(f"{need} " for need in missing))]
        if "bert_heads" in missing:
            noted.append("bert_config=PATH, the config.json of the BERT folder, settles bert_heads")
        what = f"no tensor shows {', '.join(missing)}, and parity cannot notice a wrong value"
        return missing, "; ".join((what, *noted))
    if name != "text_encoder" and match.value("base_dim") < _NARROWEST:
        return (), f"a width of {match.value('base_dim')} has no sinusoid; 4 is the least"
    if name in ("text_encoder", "full") and importlib.util.find_spec("transformers") is None:
        return (), "BERT comes from transformers, which is not installed: pip install transformers"
    return (), None


def _refused(refusal: str) -> Callable[[], torch.nn.Module]:
    def network() -> torch.nn.Module:
        raise LayoutError(refusal, remedy="settle it with --config")

    return network


def _network(name: str, arguments: Mapping[str, Any]) -> Callable[[], torch.nn.Module]:
    def network() -> torch.nn.Module:
        from convcore_umc import nets

        module: torch.nn.Module = getattr(nets, name)(**arguments)
        return module

    return network


def _call(match: LayoutMatch, graph: str) -> tuple[str, dict[str, Any]]:
    """The class of ``nets`` that computes a graph, and its arguments."""
    if graph == "text_encoder":
        return "TextEncoder", _text(match)
    if graph == "video_encoder":
        return "VideoEncoder", _sequence(match, "video")
    if graph == "audio_encoder":
        return "AudioEncoder", _sequence(match, "audio")
    every = {"text": _text(match)}
    every |= {modality: _sequence(match, modality) for modality in ("video", "audio")}
    fused = match.otherwise("fusion_order", "fusion_activation", "head_activation")
    return "Full", {**every, "width": match.value("base_dim"), **fused}


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
        **match.otherwise("encoder_activation", "norm_eps"),
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
