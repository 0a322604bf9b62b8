"""ETM: a topic model of colour palettes and the texts that describe them.

Source of every key name, shape and formula: github.com/ziran-ai/ColorRAG (MultiOmicsETM).

Assumed, where no tensor shows it and no hyper-parameter states it; ``--config NAME=VALUE`` says
otherwise:

| name | assumed | what it is |
|---|---|---|
| `one_sided` | gaussian | stands for a missing side: a gaussian, or zeros through its encoder |
| `missing_logvar` | 10.0 | log-variance of the gaussian that stands for a missing side |
| `fuse_eps` | 1e-10 | what the product of Gaussians adds to its denominators |
| `activation` | relu | activation of encoders and score predictor |
| `norm` | batch | kind of normalisation in the encoders |
| `norm_eps` | 1e-05 | what normalisation adds to the variance |
| `score_scale` | (nothing) | minimum and maximum of the scores, which training scales to 0 and 1 |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore import Layout, Source, hookimpl
from convcore_etm.assumptions import ASSUMED, KNOWN
from convcore_etm.configuration import OPTIONS, configure
from convcore_etm.files import documents, weights
from convcore_etm.graphs import graphs
from convcore_etm.source import NAME, read
from convcore_etm.tensors import COMPONENTS, make_schema

if TYPE_CHECKING:
    from convcore_etm.runtime import CrossModal as CrossModal

convcore_api = 2

__all__ = ["CrossModal", "convcore_layouts", "convcore_sources"]
_HERE = Path(__file__).parent


@hookimpl
def convcore_sources() -> list[Source]:
    """Declare the folder of separate files, and the files themselves."""
    summary = "an ETM folder of separate files, one of them, or its flat or wrapped model file"
    return [Source(NAME, summary, read, {"state-dict", "lightning"})]


@hookimpl
def convcore_layouts() -> list[Layout]:
    """Declare the layout."""
    return [
        Layout(
            "etm",
            "topic model of colours and texts: two encoders, one decoder",
            COMPONENTS,
            make_schema,
            configure,
            graphs,
            options=OPTIONS,
            weights=weights,
            documents=documents,
            state_dict_file="best_model.pth",
            example=_HERE / "example.py.jinja",
            nets=_HERE / "nets.py",
            assumes=ASSUMED,
            known=KNOWN,
        )
    ]


def __getattr__(name: str) -> Any:
    if name == "CrossModal":
        from convcore_etm.runtime import CrossModal

        return CrossModal
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
