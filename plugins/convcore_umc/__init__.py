"""UMC: unsupervised multimodal clustering of text, video and audio (ACL 2024).

Source of every key name, shape and formula: github.com/thuiar/UMC.

Assumed, where no tensor shows it and no hyper-parameter states it; ``--config NAME=VALUE`` says
otherwise:

| name | assumed | what it is |
|---|---|---|
| `nheads` | (nothing) | attention heads of the video and audio encoders |
| `attn_mask` | (nothing) | true if those encoders are causal, else false |
| `text_length` | (nothing) | tokens that every text is cut or padded to |
| `video_length` | (nothing) | steps that every video is cut or padded to |
| `audio_length` | (nothing) | steps that every audio is cut or padded to |
| `bert_heads` | (nothing) | attention heads of BERT, where there is no config.json |
| `bert_activation` | gelu | activation of BERT, in the names of transformers |
| `bert_layer_norm_eps` | 1e-12 | what BERT's normalisation adds to the variance |
| `encoder_activation` | relu | activation within the video and audio encoders |
| `norm_eps` | 1e-05 | what their normalisation adds to the variance |
| `fusion_order` | text-audio-video | order in which the three features are joined |
| `fusion_activation` | gelu | activation of the joined features |
| `head_activation` | relu | activation before the last layer |
"""

from __future__ import annotations

from pathlib import Path

from convcore import Layout, Source, hookimpl
from convcore_umc.assumptions import ASSUMED, KNOWN
from convcore_umc.configuration import OPTIONS, configure
from convcore_umc.graphs import graphs
from convcore_umc.runs import FILE, NAME, find_runs, read
from convcore_umc.schema import COMPONENTS, make_schema

convcore_api = 2

_HERE = Path(__file__).parent


@hookimpl
def convcore_sources() -> list[Source]:
    """Declare the run folder."""
    summary = f"a UMC run folder, or its {FILE}"
    return [Source(NAME, summary, read, {"state-dict"}, find_runs)]


@hookimpl
def convcore_layouts() -> list[Layout]:
    """Declare the layout."""
    return [
        Layout(
            NAME,
            "UMC: BERT, video and audio encoders, fused for clustering",
            COMPONENTS,
            make_schema,
            configure,
            graphs,
            options=OPTIONS,
            state_dict_file=FILE,
            nets=_HERE / "nets.py",
            assumes=ASSUMED,
            known=KNOWN,
        )
    ]
