"""What the tests of the reader share: saving, and torch's own reading as the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

WILD = Path(__file__).parent.parent / "data" / "wild"
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write an object with ``torch.save`` (options passed on) and return the file."""

    def write(value: Any, name: str = "saved.pt", *, legacy: bool = False, **options: Any) -> Path:
        path = tmp_path / name
        torch.save(value, path, _use_new_zipfile_serialization=not legacy, **options)
        return path

    return write


def tensors_of(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of what ``torch.load`` returned, with its dotted name."""
    if isinstance(value, torch.Tensor):
        yield name, value
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    for key, item in parts:
        yield from tensors_of(item, f"{name}.{key}" if name else str(key))


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    """All that makes two tensors the same: type, shape and every bit of every element."""
    dense = tensor.detach().resolve_conj().resolve_neg().flatten().clone()
    raw = dense.as_strided([dense.numel()], [1]).view(torch.uint8).numpy().tobytes()
    return tensor.dtype, tuple(tensor.shape), raw
