"""Sources: from what a file holds to the tensors that are the model, each under one name."""

from __future__ import annotations

from convcore.sources.checkpoint import (
    decide,
    make_checkpoint,
    read_selected,
    with_attributes,
)
from convcore.sources.folders import read_folder
from convcore.sources.names import authored, unprefixed
from convcore.sources.places import beside, follow, state_dict_of, state_dicts, tensors_of

__all__ = [
    "authored",
    "beside",
    "decide",
    "follow",
    "make_checkpoint",
    "read_folder",
    "read_selected",
    "state_dict_of",
    "state_dicts",
    "tensors_of",
    "unprefixed",
    "with_attributes",
]
