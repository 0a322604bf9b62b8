"""Tensors that stay where they are: sources of bytes, extents in them, and elements over those.

The leftmost room: it knows no file format.
"""

from convcore.tensors.assembled import Assembled, assemble
from convcore.tensors.byte_source import ByteSource, Memory, Window
from convcore.tensors.dtypes import BY_NAME
from convcore.tensors.lazy_tensor import LazyTensor
from convcore.tensors.local_file import LocalFile
from convcore.tensors.spec import TensorSpec
from convcore.tensors.storage import Extent, Storage

__all__ = [
    "BY_NAME",
    "Assembled",
    "ByteSource",
    "Extent",
    "LazyTensor",
    "LocalFile",
    "Memory",
    "Storage",
    "TensorSpec",
    "Window",
    "assemble",
]
