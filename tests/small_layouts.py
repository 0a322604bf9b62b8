"""Layouts of a few lines, for tests of what is common to all layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import torch

from convcore.host.registry import Registry, load_registry
from convcore.layouts.graph import Axis, Graph
from convcore.layouts.layout import Component, Layout, LayoutMatch
from convcore.layouts.matching import match_layout
from convcore.sources.reading import read_checkpoint

X = Axis("x", ("batch", 4))
Y = Axis("y", ("batch", 3))
Build = Callable[[], torch.nn.Module]


def graph(
    name: str, network: Build, components: str | tuple[str, ...] = "", **more: object
) -> Graph:
    return Graph(name, components or name, (X,), (Y,), network, **more)


def registry(layout: Layout) -> Registry:
    """All that is installed, with this layout as the only one."""
    return attrs.evolve(load_registry(), layouts={layout.name: layout})


def layout(*graphs: Graph) -> Layout:
    """A layout whose components are all those its graphs name, each under its own prefix."""
    names = dict.fromkeys(part for one in graphs for part in one.components)
    parts = [Component(name, f"{name}.") for name in names]
    return Layout("small", "for a test", parts, graphs=lambda match: graphs)


def save(path: Path, modules: Mapping[str, torch.nn.Module]) -> Path:
    """Write the state dicts of the modules, each under its name."""
    state = {f"{n}.{k}": v for n, m in modules.items() for k, v in m.state_dict().items()}
    torch.save(state, path)
    return path


def match(path: Path, *graphs: Graph) -> LayoutMatch:
    """Read a file as the small layout of these graphs."""
    known = registry(layout(*graphs))
    return match_layout(read_checkpoint(path, known), known)
