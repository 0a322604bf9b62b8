"""Layout ``seqsetvae``: sets of clinical measurements, encoded one by one, read as a sequence.

Assumed, where no tensor shows it and no hyper-parameter states it; ``--config NAME=VALUE`` says
otherwise:

| name | assumed | what it is |
|---|---|---|
| `heads` | (nothing) | attention heads of the set encoder |
| `transformer_heads` | (nothing) | attention heads of the transformer |
| `classification_only` | true | the classifier's mode, a switch of the running program |
| `time_edges` | 0.5-1440 | ends of the 63 logarithmic edges of the time buckets, minutes |
| `activation` | gelu | activation of set encoder and transformer |
| `norm_eps` | 1e-05 | what layer normalisation adds to the variance |
| `post_norm_eps` | 1e-06 | what the normalisation after the transformer adds |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore import Component, Layout, Target, hookimpl
from convcore_seqsetvae.assumptions import ASSUMED, KNOWN
from convcore_seqsetvae.configuration import configure
from convcore_seqsetvae.graphs import graphs
from convcore_seqsetvae.schema import seqsetvae_schema
from convcore_seqsetvae.transfer import TARGET
from convcore_seqsetvae.versions import FUSION, LEGACY_SEQUENCE, PREFIXES

if TYPE_CHECKING:
    from convcore_seqsetvae.runtime import load_finetune

convcore_api = 2

__all__ = ["load_finetune"]

_HERE = Path(__file__).parent
_SEQUENCE = (
    "transformer.",
    "post_transformer_norm.",
    "rel_time_bucket_embed.",
    "alibi_slope",
    "time_tau",
    "pooling_gate",  # not with the classifier, whose file keeps to the keys of cls_head
    "temperature",
    *LEGACY_SEQUENCE,
)
_DECODERS = tuple(f"{prefix}{part}." for prefix in PREFIXES for part in ("decoder_layers", "out"))

LAYOUT = Layout(
    name="seqsetvae",
    summary="SeqSetVAE: clinical event sets, pretraining, finetuning and the stand-alone set VAE",
    components=(
        Component("set_encoder", tuple(PREFIXES)),
        Component("sequence", _SEQUENCE, required=False),
        Component("classifier", "cls_head.", required=False),
        Component("set_decoder", ("decoder.", *_DECODERS), role="training", required=False),
        Component("unused_fusion", FUSION, role="training", required=False),
    ),
    schema=seqsetvae_schema,
    configure=configure,
    graphs=graphs,
    options={
        "head": "norms or seed: two heads of the same keys where the fusion parts are missing",
    },
    example=_HERE / "example.py.jinja",
    nets=_HERE / "nets.py",
    assumes=ASSUMED,
    known=KNOWN,
)


@hookimpl
def convcore_layouts() -> list[Layout]:
    """Declare the layout."""
    return [LAYOUT]


@hookimpl
def convcore_targets() -> list[Target]:
    """Declare the start of a finetuning."""
    return [TARGET]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name == "load_finetune":
        from convcore_seqsetvae.runtime import load_finetune

        return load_finetune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
