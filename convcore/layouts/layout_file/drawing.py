"""A graph as a layout file draws it, and the graph it becomes for one checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from convcore.errors import UsageError
from convcore.layouts.graph import Axis, Graph
from convcore.layouts.layout import LayoutMatch
from convcore.names import nearest

if TYPE_CHECKING:
    import torch


@attrs.frozen
class Drawing:
    """One graph as the file draws it; sizes and the network are filled in for each match."""

    name: str
    components: tuple[str, ...]
    inputs: tuple[Axis, ...]
    outputs: tuple[Axis, ...]
    network: str | None = None
    arguments: Mapping[str, Any] = attrs.field(factory=dict)
    role: Any = "inference"

    @property
    def option(self) -> str:
        """The ``--config`` name under which the command line may name its network."""
        return f"network.{self.name}"

    def graph(self, match: LayoutMatch, named: str | None) -> Graph:
        """The graph for one checkpoint, computed by the network of that name, or by nobody."""

        def network() -> torch.nn.Module:
            arguments = {name: _sized(value, match) for name, value in self.arguments.items()}
            # A class that changes what it is given must not change it for the next checkpoint.
            return _made(self, named, copy.deepcopy(arguments))

        return Graph(
            self.name,
            self.components,
            tuple(attrs.evolve(axis, shape=_shaped(axis, match)) for axis in self.inputs),
            tuple(attrs.evolve(axis, shape=_shaped(axis, match)) for axis in self.outputs),
            network,
            role=self.role,
            refusal=None if named else "nobody says which class computes it",
            missing=() if named else (self.option,),
        )


def _shaped(axis: Axis, match: LayoutMatch) -> tuple[int | str, ...]:
    return tuple(_sized(size, match) for size in axis.shape)


def _sized(value: Any, match: LayoutMatch) -> Any:
    """Put in a solved size where the file refers to one, as ``"$D"``."""
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    name = value[1:]
    if name in match.sizes:
        return match.sizes[name]
    if any(name == each.name for each in match.layout.assumes):
        return match.value(name)
    raise UsageError(
        f"{match.layout.name} has no size {name!r}",
        seen=(f"sizes: {', '.join(match.sizes) or 'none'}", *nearest(name, match.sizes)),
        remedy="use a size that [shapes] of the layout file names, or a name of [assumes]",
    )


def _made(drawing: Drawing, named: str | None, arguments: Mapping[str, Any]) -> torch.nn.Module:
    from convcore.layouts.layout_file.imported import network_maker

    if named is None:
        raise UsageError(
            f"nobody says which class computes {drawing.name}",
            remedy=f"give --config {drawing.option}=package.module:Callable",
        )
    make = network_maker(named, drawing.name)
    try:
        made = make(**arguments)
    except Exception as error:
        raise UsageError(
            f"the network {named} of {drawing.name} cannot be made: {error!r}",
            remedy="check the arguments that the layout file gives it",
        ) from error
    import torch

    if not isinstance(made, torch.nn.Module):
        raise UsageError(
            f"{named} of {drawing.name} made a {type(made).__name__}, not a torch module",
            remedy="name a class of torch.nn.Module, or a function that returns one",
        )
    return made
