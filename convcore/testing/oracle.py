"""Readers that are not convcore's: torch and safetensors say what a file really holds."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from convcore.sources.source import Checkpoint


def tensors_in(path: Path) -> dict[str, torch.Tensor]:
    """Read a torch or safetensors file with its own library; nested names are joined by dots."""
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    return dict(_leaves(loaded))


def originals(checkpoint: Checkpoint) -> dict[str, list[torch.Tensor]]:
    """Return every tensor of a checkpoint under its key in the file, read by torch where it can.

    A key may stand in several of a file's dictionaries (an average beside the weights): all are
    given. What torch refuses to read without running code comes from convcore's own reader.
    """
    import torch

    found: dict[str, list[torch.Tensor]] = {}
    try:
        if checkpoint.path.is_file() and checkpoint.path.suffix != ".safetensors":
            for key, tensor in _keyed(
                torch.load(checkpoint.path, map_location="cpu", weights_only=True)
            ):
                found.setdefault(key, []).append(tensor)
        elif checkpoint.path.is_file():
            found = {key: [tensor] for key, tensor in tensors_in(checkpoint.path).items()}
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        found = {}
    for name, lazy in checkpoint.tensors.items():
        key = checkpoint.original(name)
        if key not in found:
            found[key] = [lazy.load()]
    return found


def count(path: Path) -> int | None:
    """Return how many tensors torch finds in a file; None where it cannot read it."""
    import torch

    try:
        return sum(1 for _ in _leaves(torch.load(path, map_location="cpu", weights_only=True)))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError):
        return None


def same(left: Any, right: Any) -> bool:
    """Whether two tensors, or arrays, are equal in type, shape and every bit."""
    import torch

    a, b = (_tensor(value) for value in (left, right))
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(_bits(a), _bits(b))


def _tensor(value: Any) -> torch.Tensor:
    import numpy as np
    import torch

    # A copy: what a library maps from a file may not be written to, and torch warns of that.
    return value.detach() if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    flat = tensor.resolve_conj().resolve_neg().flatten()
    # A copy: one element counts as contiguous whatever its stride, but cannot be viewed as bytes.
    return flat.clone(memory_format=torch.contiguous_format).view(torch.uint8)


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    if isinstance(tree, torch.Tensor):
        yield path, tree
        return
    items: Any = ()
    if isinstance(tree, Mapping):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    for key, value in items:
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def _keyed(tree: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each tensor under every dotted tail of its place, whatever dictionaries wrap it."""
    import torch

    if isinstance(tree, torch.Tensor):
        yield "tensor", tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            if isinstance(value, torch.Tensor):
                yield str(key), value
            else:
                yield from ((f"{key}.{inner}", t) for inner, t in _leaves(value))
                yield from _keyed(value)
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            if isinstance(value, torch.Tensor):
                yield str(index), value
            else:
                yield from _keyed(value)
