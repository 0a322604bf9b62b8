"""ETM's tensors: which there are, of what shape, in which order, and whose they are.

Source of names and shapes: github.com/ziran-ai/ColorRAG, src/topic_model.py (MultiOmicsETM).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from convcore import Component, Schema, TensorSpec
from convcore.layouts.graph import Shape

MATRICES = ("alpha", "rho_color", "rho_text", "lambda_color", "lambda_text")
# Hyper-parameter to the size that shows it, in the order of the origin's constructor.
SIZES = {
    "num_topics": "K",
    "color_dim": "C",
    "text_dim": "V",
    "embedding_dim": "L",
    "hidden_dim": "H",
}


def _encoder(side: str, features: str) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for linear, norm, size_in, size in ((0, 1, features, "H"), (4, 5, "H", "H//2")):
        at = f"{side}_encoder"
        shapes |= {f"{at}.{linear}.weight": (size, size_in), f"{at}.{linear}.bias": (size,)}
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{at}.{norm}.{name}"] = (size,)
        shapes[f"{at}.{norm}.num_batches_tracked"] = ()
    for head in (f"{side}_mean", f"{side}_logvar"):
        shapes |= {f"{head}.weight": ("K", "H//2"), f"{head}.bias": ("K",)}
    return shapes


_MATRICES: dict[str, Shape] = {
    "alpha": ("K", "L"),
    "rho_color": ("L", "C"),
    "rho_text": ("L", "V"),
    "lambda_color": (1, "C"),
    "lambda_text": (1, "V"),
}
_SCORE: dict[str, Shape] = {
    "score_predictor.0.weight": ("H//4", "K"),
    "score_predictor.0.bias": ("H//4",),
    "score_predictor.3.weight": (1, "H//4"),
    "score_predictor.3.bias": (1,),
}
SHAPES: dict[str, dict[str, Shape]] = {
    "color_encoder": _encoder("color", "C"),
    "text_encoder": _encoder("text", "V"),
    "decoder": {**_MATRICES, **_SCORE},
}
_ORDER = (*_MATRICES, *SHAPES["color_encoder"], *SHAPES["text_encoder"], *_SCORE)

# None is required by itself: one encoder or decoder file alone is worth converting, and the
# schema asks for everything as soon as two of the three are there.
COMPONENTS = (
    Component(
        "color_encoder",
        ("color_encoder.", "color_mean.", "color_logvar."),
        required=False,
        file="best_color_encoder",
    ),
    Component(
        "text_encoder",
        ("text_encoder.", "text_mean.", "text_logvar."),
        required=False,
        file="best_text_encoder",
    ),
    Component("decoder", (*MATRICES, "score_predictor."), required=False, file="best_decoder"),
)


def parts_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the components of which at least one tensor is named."""
    there = set(names)
    return tuple(part for part, shapes in SHAPES.items() if there & set(shapes))


def looks_like_etm(names: Iterable[str]) -> bool:
    """Whether at least half of some component's tensors are named."""
    there = set(names)
    return any(2 * len(there & set(shapes)) >= len(shapes) for shapes in SHAPES.values())


def make_schema(tensors: Mapping[str, TensorSpec]) -> Schema:
    """Return the shapes of the whole model, or of the one component that is there."""
    there = parts_of(tensors)
    parts = there if len(there) == 1 else tuple(SHAPES)
    return Schema({key: shape for part in parts for key, shape in SHAPES[part].items()})


def in_order(names: Iterable[str]) -> list[str]:
    """Sort names as the origin's state dict has them, names it does not have last."""
    place = {name: index for index, name in enumerate(_ORDER)}
    return sorted(names, key=lambda name: place.get(name, len(place)))
