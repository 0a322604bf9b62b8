"""The six functions of an ETM model that can be exported, and the networks that compute them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from convcore import Axis, Graph, LayoutMatch
from convcore_etm.assumptions import KIND
from convcore_etm.tensors import SIZES

if TYPE_CHECKING:
    import torch

_COLOR, _TEXT, _DECODER = "color_encoder", "text_encoder", "decoder"


def graphs(match: LayoutMatch) -> Iterator[Graph]:
    """Yield the functions that the components at hand can compute."""
    sizes = {name: match.value(name) for name in SIZES}
    axes = _axes(sizes)
    zero = match.value("one_sided") == "zero"
    one_sided = {**sizes, "zero": zero}
    kind = match.otherwise(*KIND)
    for name, components, inputs, outputs, network, arguments in (
        (_COLOR, (_COLOR,), "color", "mu logvar", "ColorEncoder", _without(sizes, "text_dim")),
        (_TEXT, (_TEXT,), "text", "mu logvar", "TextEncoder", _without(sizes, "color_dim")),
        (_DECODER, (_DECODER,), "theta", "recon_color recon_text score", "Decoder", {
            **{name: sizes[name] for name in SIZES if name != "hidden_dim"},
            "score_dim": _score_dim(match),
        }),
        ("text_to_color", (*[_COLOR] * zero, _TEXT, _DECODER), "text",
         "theta recon_color score", "TextToColor", one_sided),
        ("color_to_text", (_COLOR, *[_TEXT] * zero, _DECODER), "color",
         "theta recon_text score", "ColorToText", one_sided),
        ("full", (_COLOR, _TEXT, _DECODER), "color text",
         "recon_color recon_text score theta mu logvar", "Full", sizes),
    ):  # fmt: skip
        if set(components) <= set(match.states):
            yield Graph(
                name,
                components,
                tuple(axes[axis] for axis in inputs.split()),
                tuple(axes[axis] for axis in outputs.split()),
                _network(network, {**arguments, **kind}),
                call=(network, {**arguments, **kind}),
            )


def _axes(sizes: Mapping[str, Any]) -> dict[str, Axis]:
    topics, color, text = sizes["num_topics"], sizes["color_dim"], sizes["text_dim"]
    widths = {
        "color": color,
        "text": text,
        "theta": topics,
        "mu": topics,
        "logvar": topics,
        "recon_color": color,
        "recon_text": text,
        "score": 1,
    }
    return {name: Axis(name, ("batch", width)) for name, width in widths.items()}


def _without(sizes: Mapping[str, Any], other_side: str) -> dict[str, Any]:
    return {k: v for k, v in sizes.items() if k not in (other_side, "embedding_dim")}


def _score_dim(match: LayoutMatch) -> int | None:
    bias = match.states.get(_DECODER, {}).get("score_predictor.0.bias")
    return None if bias is None else bias.shape[0]


def _network(name: str, arguments: Mapping[str, Any]) -> Any:
    def build() -> torch.nn.Module:
        from convcore_etm import nets

        module: torch.nn.Module = getattr(nets, name)(**arguments)
        return module

    return build
