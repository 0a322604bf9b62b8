"""Legal integers: how many rows the tables have that a network looks an input up in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convcore.targets.networks import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch

    from convcore.layouts.graph import Graph

    Array = np.ndarray[Any, Any]

# Where nothing is looked up, these are tried; a network that refuses them gets 0 and 1.
_TRIED = 100


def needs_limits(graph: Graph) -> bool:
    """Whether a graph has integers that no ``sample`` draws."""
    return any(axis.sample is None and axis.dtype.startswith("int") for axis in graph.inputs)


def limits(module: torch.nn.Module, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Find, for every place of every integer input, the number that all legal ones are below.

    The network runs once, and its look-ups are watched: embeddings, and indexing of any kind, by
    the input or a part of it. A number that is computed from an input is not followed.

    Args:
        module: The network.
        graph: What it computes; inputs with a ``sample`` of their own are left out.
        inputs: Of the sizes in question, zeros and ones.
    """
    import numpy as np
    import torch

    watched = {
        axis.name: torch.from_numpy(inputs[axis.name])
        for axis in graph.inputs
        if axis.sample is None and axis.dtype.startswith("int")
    }
    unknown = np.iinfo(np.int64).max
    found = {name: torch.full_like(value, unknown) for name, value in watched.items()}
    with _watch(list(watched.values()), list(found.values())):
        run(module, graph, inputs)
    known = {name: value.numpy() for name, value in found.items()}
    for tried in (_TRIED, 2):
        legal = {name: np.where(value == unknown, tried, value) for name, value in known.items()}
        if tried == 2 or _takes(module, graph, {**inputs, **{n: v - 1 for n, v in legal.items()}}):
            return legal
    return known


def _takes(module: torch.nn.Module, graph: Graph, inputs: Mapping[str, Array]) -> bool:
    try:
        run(module, graph, inputs)
    except (IndexError, RuntimeError):
        return False
    return True


def _watch(inputs: list[torch.Tensor], limits: list[torch.Tensor]) -> Any:
    """Return a context in which every look-up by a part of an input lowers its limits."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    aten = torch.ops.aten

    def note(index: Any, rows: int) -> None:
        if not isinstance(index, torch.Tensor) or index.dtype != torch.int64:
            return
        for value, limit in zip(inputs, limits, strict=True):
            if index.untyped_storage().data_ptr() == value.untyped_storage().data_ptr():
                # Both lie in memory alike, so that the same view shows the same places.
                limit.as_strided(index.shape, index.stride(), index.storage_offset()).clamp_(
                    max=rows
                )

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's, untyped
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func is aten.embedding.default:
                note(args[1], args[0].shape[0])
            elif func in (aten.index_select.default, aten.gather.default):
                note(args[2], args[0].shape[args[1]])
            elif func is aten.index.Tensor:
                for axis, index in enumerate(args[1]):
                    note(index, args[0].shape[axis])
            return func(*args, **(kwargs or {}))

    return Watch()  # type: ignore[no-untyped-call]  # torch's, untyped
