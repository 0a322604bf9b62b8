"""UMC: unsupervised multimodal clustering of text, video and audio (ACL 2024).

Source of every key name, shape and formula: github.com/thuiar/UMC.
"""

from __future__ import annotations

from pathlib import Path

from convcore.hookspecs import hookimpl
from convcore.model import Layout, Source
from convcore_umc.configuration import OPTIONS, configure
from convcore_umc.graphs import graphs
from convcore_umc.runs import FILE, NAME, find_runs, read
from convcore_umc.schema import COMPONENTS, make_schema

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
        )
    ]
