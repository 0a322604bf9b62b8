"""File formats: bytes become plain values and lazy tensors, without torch.

Nothing in a file is imported, called or resolved; see ``budgets`` for what a file may ask for.
"""

from __future__ import annotations

from convcore.formats.archive import Archive, Opaque
from convcore.formats.bounded_json import read_json
from convcore.formats.builtin import FORMATS
from convcore.formats.format import Format, FormatSession
from convcore.formats.hf_shards import find_index
from convcore.formats.links import within
from convcore.formats.location import Location
from convcore.formats.opening import open_archive
from convcore.formats.plain import as_plain
from convcore.formats.tree import walk_tensors
from convcore.formats.unwrapping import as_mapping, as_state_dict

__all__ = [
    "FORMATS",
    "Archive",
    "Format",
    "FormatSession",
    "Location",
    "Opaque",
    "as_mapping",
    "as_plain",
    "as_state_dict",
    "find_index",
    "open_archive",
    "read_json",
    "walk_tensors",
    "within",
]
