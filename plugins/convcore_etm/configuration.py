"""Settling what an ETM model is: sizes from its tensors, and dropout."""

from __future__ import annotations

from typing import Any

from convcore import LayoutMatch, Settler
from convcore_etm.tensors import SIZES

OPTIONS = {
    "prefix": "which set of files in a folder to take: best_, final_, epoch_N_ or another",
}
_DROPOUT = 0.1


def configure(match: LayoutMatch, settler: Settler) -> None:
    """Settle every setting; a size that the components at hand do not show may stay unknown."""
    stated = settler.hyper_parameters
    shown = _shown(match, stated.get("hidden_dim"))
    for name in SIZES:
        if name in shown:
            settler.from_shape(name, shown[name], stated.get(name))
        elif _is_size(stated.get(name)) and name != "hidden_dim":
            settler.put(name, stated[name], "hyper_parameters")
        else:
            settler.put(name, None, "unknown")
    unknown = [name for name in SIZES if settler.settings[name].value is None]
    if unknown:
        settler.note(f"{', '.join(match.states)} alone cannot tell {', '.join(unknown)}")
    dropout = stated.get("dropout")
    if isinstance(dropout, int | float) and 0 <= dropout < 1:
        settler.put("dropout", dropout, "hyper_parameters")
    else:
        settler.put("dropout", _DROPOUT, "default")
    if "decoder" in match.states and settler.assume("score_scale") is None:
        settler.note("scores lie on training's scale from 0 to 1, whose ends no file keeps")


def _shown(match: LayoutMatch, hidden: Any) -> dict[str, int]:
    sizes = {name: match.sizes[size] for name, size in SIZES.items() if size in match.sizes}
    if list(match.states) == ["decoder"]:
        # Its score head shows H // 4 only, for which four values of H are possible.
        del sizes["hidden_dim"]
        if _is_size(hidden) and hidden // 4 == match.states["decoder"][_SCORE].shape[0]:
            sizes["hidden_dim"] = hidden
    return sizes


_SCORE = "score_predictor.0.bias"


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
