"""The former place of ``convcore.tensors`` and ``convcore.formats``; use those."""

from convcore.formats import (
    Archive,
    Opaque,
    as_mapping,
    as_plain,
    as_state_dict,
    open_archive,
    walk_tensors,
)
from convcore.tensors import LazyTensor, Storage, TensorSpec

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
