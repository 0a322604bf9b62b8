"""Opening checkpoints without torch: bytes on disk become plain values and lazy tensors.

Nothing in a file is imported, called or resolved; see ``budgets`` for what a file may ask for.
"""

from __future__ import annotations

from convcore.archive.lazy import LazyTensor, Storage
from convcore.archive.opening import open_archive
from convcore.archive.plain import as_plain
from convcore.archive.tree import walk_tensors
from convcore.archive.unwrapping import as_mapping, as_state_dict
from convcore.archive.values import Archive, Opaque, TensorSpec

__all__ = [
    "Archive",
    "LazyTensor",
    "Opaque",
    "Storage",
    "TensorSpec",
    "as_mapping",
    "as_plain",
    "as_state_dict",
    "open_archive",
    "walk_tensors",
]
