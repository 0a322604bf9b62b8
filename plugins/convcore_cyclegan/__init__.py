"""CycleGAN for sequences of features, current and early architecture.

Origin: Terbinm/CPC_server_collectorSYS (``py_cyclegan_original``) and its later line.

Assumed, where no tensor shows it and no hyper-parameter states it; ``--config NAME=VALUE`` says
otherwise:

| name | assumed | what it is |
|---|---|---|
| `activation` | leaky_relu | activation of every hidden layer |
| `negative_slope` | 0.2 | slope of the leaky ReLU below 0 |
| `norm` | batch | kind of normalisation, where there is one |
| `norm_eps` | 1e-05 | what normalisation adds to the variance |
| `output_activation` | tanh | activation of the generators' output |
| `discriminator_activation` | leaky_relu | activation of every hidden layer |
| `discriminator_negative_slope` | 0.2 | slope of the leaky ReLU below 0 |
| `discriminator_norm` | batch | kind of normalisation, where there is one |
| `discriminator_norm_eps` | 1e-05 | what normalisation adds to the variance |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore import Component, Layout, Source, hookimpl
from convcore_cyclegan import exported
from convcore_cyclegan.assumptions import ASSUMED, KNOWN
from convcore_cyclegan.configuration import configure, documents
from convcore_cyclegan.graphs import graphs
from convcore_cyclegan.normalisation import FILE
from convcore_cyclegan.structure import DISCRIMINATORS, EARLY, GENERATORS, schema

if TYPE_CHECKING:
    from convcore_cyclegan.runtime import FeatureConverter as FeatureConverter

convcore_api = 2

__all__ = ["FeatureConverter", "convcore_layouts", "convcore_sources"]


@hookimpl
def convcore_layouts() -> list[Layout]:
    """Declare the layout."""
    generators = [Component(name, (f"{name}.", f"{EARLY[name]}.")) for name in GENERATORS]
    discriminators = [
        # The origin's exporter leaves the ``model.`` under which a discriminator has everything.
        Component(name, f"{name}.", role="training", required=False, keep="model.")
        for name in DISCRIMINATORS
    ]
    return [
        Layout(
            "cyclegan",
            "CycleGAN for sequences of features, with its normalisation",
            [*generators, *discriminators],
            schema=schema,
            configure=configure,
            graphs=graphs,
            sidecars=(FILE,),
            documents=documents,
            nets=Path(__file__).with_name("nets.py"),
            assumes=ASSUMED,
            known=KNOWN,
        )
    ]


@hookimpl
def convcore_sources() -> list[Source]:
    """Declare the folder of exported networks."""
    summary = "a folder of exported CycleGAN networks: generator_AB.pth, generator_BA.pth"
    return [Source(exported.NAME, summary, exported.read)]


def __getattr__(name: str) -> Any:
    if name == "FeatureConverter":
        from convcore_cyclegan.runtime import FeatureConverter

        return FeatureConverter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
