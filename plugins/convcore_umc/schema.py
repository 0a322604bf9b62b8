"""Which keys UMC writes, of which shapes, and which network each belongs to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from convcore import Component, Schema, TensorSpec
from convcore.layouts.graph import Shape

BACKBONE = "method_model.backbone."
_BERT = f"{BACKBONE}text_embedding.bert."
_POSITION_IDS = f"{_BERT}embeddings.position_ids"
_HELD_MEMORY = "embed_positions._float_tensor"

COMPONENTS = (
    Component(
        "text_encoder",
        (f"{BACKBONE}text_embedding.", f"{BACKBONE}text_layer."),
        drop={_POSITION_IDS: "a count from 0: newer transformers neither saves nor loads it"},
    ),
    *(
        Component(
            f"{modality}_encoder",
            (f"{BACKBONE}{modality[0]}_encoder.", f"{BACKBONE}{modality}_layer."),
            drop={
                f"{BACKBONE}{modality[0]}_encoder.{_HELD_MEMORY}": "uninitialised memory: training "
                "never writes it and the forward pass reads only its type"
            },
        )
        for modality in ("video", "audio")
    ),
    Component("fusion", f"{BACKBONE}fusion_layer."),
    Component("mlp_head", "method_model.mlp_head."),
    # Saved with the rest, and never used in the forward pass.
    Component("shared_embedding_layer", f"{BACKBONE}shared_embedding_layer.", role="training"),
)


def bert_layers(keys: Iterable[str]) -> int:
    """Return how many layers of BERT the keys show."""
    return _count(keys, f"{_BERT}encoder.layer.")


def encoder_layers(keys: Iterable[str], modality: str) -> int:
    """Return how many layers the ``video`` or ``audio`` encoder shows."""
    return _count(keys, f"{BACKBONE}{modality[0]}_encoder.layers.")


def has_version(keys: Iterable[str], modality: str) -> bool:
    """Return whether an encoder carries the number 2.0 that its origin writes and never reads."""
    return f"{BACKBONE}{modality[0]}_encoder.version" in keys


def make_schema(tensors: Mapping[str, TensorSpec]) -> Schema:
    """Return the keys of the layer counts that the tensors show, with symbolic shapes.

    Source: github.com/thuiar/UMC, the state dict of ``MIA``; BERT as transformers names it.
    """
    shapes: dict[str, Shape] = {
        _POSITION_IDS: (1, "bert_positions"),
        f"{_BERT}embeddings.word_embeddings.weight": ("bert_vocabulary", "bert_hidden"),
        f"{_BERT}embeddings.position_embeddings.weight": ("bert_positions", "bert_hidden"),
        f"{_BERT}embeddings.token_type_embeddings.weight": ("bert_segments", "bert_hidden"),
        **_norm(f"{_BERT}embeddings.LayerNorm", "bert_hidden"),
    }
    for index in range(bert_layers(tensors)):
        shapes |= _bert_layer(f"{_BERT}encoder.layer.{index}.")
    shapes |= _linear(f"{_BERT}pooler.dense", "bert_hidden", "bert_hidden")
    shapes |= _linear(f"{BACKBONE}text_layer", "base_dim", "bert_hidden")
    for modality in ("video", "audio"):
        shapes |= _linear(f"{BACKBONE}{modality}_layer", "base_dim", f"{modality}_dim")
        shapes |= _encoder(f"{BACKBONE}{modality[0]}_encoder.", encoder_layers(tensors, modality))
    shapes |= _linear(f"{BACKBONE}shared_embedding_layer.2", "base_dim", "base_dim")
    shapes |= _linear(f"{BACKBONE}fusion_layer.2", "base_dim", "3*base_dim")
    shapes |= _linear("method_model.mlp_head.2", "base_dim", "base_dim")
    unread = (_POSITION_IDS, _HELD_MEMORY, "_encoder.version")
    return Schema(shapes, frozenset(key for key in shapes if key.endswith(unread)))


def _bert_layer(prefix: str) -> dict[str, Shape]:
    attention = f"{prefix}attention."
    shapes: dict[str, Shape] = {}
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        shapes |= _linear(f"{attention}{part}", "bert_hidden", "bert_hidden")
    shapes |= _norm(f"{attention}output.LayerNorm", "bert_hidden")
    shapes |= _linear(f"{prefix}intermediate.dense", "bert_intermediate", "bert_hidden")
    shapes |= _linear(f"{prefix}output.dense", "bert_hidden", "bert_intermediate")
    return shapes | _norm(f"{prefix}output.LayerNorm", "bert_hidden")


def _encoder(prefix: str, layers: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {f"{prefix}version": (1,), f"{prefix}{_HELD_MEMORY}": (1,)}
    for index in range(layers):
        layer = f"{prefix}layers.{index}."
        shapes[f"{layer}self_attn.in_proj_weight"] = ("3*base_dim", "base_dim")
        shapes[f"{layer}self_attn.in_proj_bias"] = ("3*base_dim",)
        shapes |= _linear(f"{layer}self_attn.out_proj", "base_dim", "base_dim")
        shapes |= _linear(f"{layer}fc1", "4*base_dim", "base_dim")
        shapes |= _linear(f"{layer}fc2", "base_dim", "4*base_dim")
        shapes |= _norm(f"{layer}layer_norms.0", "base_dim")
        shapes |= _norm(f"{layer}layer_norms.1", "base_dim")
    return shapes | _norm(f"{prefix}layer_norm", "base_dim")


def _linear(name: str, outputs: str, inputs: str) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: str) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _count(keys: Iterable[str], prefix: str) -> int:
    """Count layers by their numbers; a gap is a missing layer, a stray key or two are none."""
    number = re.compile(rf"{re.escape(prefix)}([0-9]{{1,4}})\.")
    held = Counter(int(match[1]) for key in keys if (match := number.match(key)))
    fullest = max(held.values(), default=0)
    found = [index for index, count in held.items() if 4 * count >= fullest]
    return max((index for index in found if index < 2 * len(found)), default=0) + 1
