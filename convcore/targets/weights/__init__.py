"""Weight files: copying tensors into them without torch, and proving the copy.

What the author of a target needs; ``torch_zip`` writes what ``torch.load`` reads.
"""

from convcore.targets.target import reopen
from convcore.targets.weights.choice import bounded, file_stem, groups, local_names, supported
from convcore.targets.weights.comparing import (
    differing,
    from_arrays,
    lying,
    prove,
    prove_arrays,
    prove_bytes,
)
from convcore.targets.weights.files import append, copy, create

__all__ = [
    "append",
    "bounded",
    "copy",
    "create",
    "differing",
    "file_stem",
    "from_arrays",
    "groups",
    "local_names",
    "lying",
    "prove",
    "prove_arrays",
    "prove_bytes",
    "reopen",
    "supported",
]
