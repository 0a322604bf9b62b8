"""A layout of named functions, so that it can be sent to another process; and one that cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import torch

from convcore.layouts.graph import Axis, Graph
from convcore.layouts.layout import Component, Layout, LayoutMatch


def network() -> torch.nn.Module:
    print("a network that prints")
    return torch.nn.Linear(4, 3)


def graphs(match: LayoutMatch) -> Iterator[Graph]:
    yield Graph("net", "net", (Axis("x", ("batch", 4)),), (Axis("y", ("batch", 3)),), network)


STEADY = Layout("steady", "for a test", [Component("net", "net.")], graphs=graphs)
HERE_ONLY = attrs.evolve(STEADY, name="here-only", graphs=lambda match: graphs(match))


def save(path: Path, seed: int) -> dict[str, torch.Tensor]:
    """Write a checkpoint of other numbers for each seed, and return its tensors."""
    drawn = torch.Generator().manual_seed(seed)
    shapes = {"net.weight": (3, 4), "net.bias": (3,)}
    state = {name: torch.randn(shape, generator=drawn) for name, shape in shapes.items()}
    torch.save(state, path)
    return state
