"""Networks made once more by what an output records, which anybody may have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convcore.errors import PluginError, SourceError
from convcore.targets.networks import build

if TYPE_CHECKING:
    import torch

    from convcore.layouts.graph import Graph
    from convcore.layouts.layout import LayoutMatch

# What a network may hold beside the weights of the file: tied parameters, buffers not saved.
_SPARE_NUMBERS, _SPARE_TENSORS = 1 << 24, 4096


def graphs_again(match: LayoutMatch) -> dict[str, Graph]:
    """Return the graphs of a match that was read back, by name; none without weights.

    Raises:
        SourceError: The settings recorded are of wrong types.
        ConvcoreError: As ``LayoutMatch.graphs``.
    """
    try:
        return {graph.name: graph for graph in match.graphs()} if match.states else {}
    except PluginError as error:
        raise mistyped(match, error.what) from error


def build_again(graph: Graph, match: LayoutMatch) -> torch.nn.Module:
    """Build the network of a match that was read back.

    Raises:
        SourceError: The settings recorded are of wrong types, or describe a network far larger than
            its weights.
        TargetError: As ``networks.build``.
    """
    refuse_oversized(graph, match)
    try:
        return build(graph, match)
    except PluginError as error:
        raise mistyped(match, error.what) from error


def mistyped(match: LayoutMatch, why: str) -> SourceError:
    """Say that settings of a manifest are what a layout cannot work with."""
    return SourceError(
        f"the layout {match.layout.name} cannot take the settings in manifest.json: {why}",
        remedy="convert the checkpoint again; the manifest was changed or damaged",
    )


class _TooLarge(Exception):
    """Raised out of a constructor, past whatever a plugin's guard passes on."""


def refuse_oversized(graph: Graph, match: LayoutMatch) -> None:
    """Make the network without memory (on torch's meta device) and count what it registers.

    Settings come from a file that anybody may have changed; they may not decide how much is made.

    Raises:
        SourceError: It registers far more numbers or tensors than its components have.
    """
    import torch
    from torch.nn.modules import module as modules

    states = [match.states.get(part, {}) for part in graph.components]
    most = _SPARE_NUMBERS + 2 * sum(_count(t.shape) for state in states for t in state.values())
    tensors = _SPARE_TENSORS + 2 * sum(len(state) for state in states)
    numbers = registered = 0

    def count(_: torch.nn.Module, name: str, value: Any) -> None:
        nonlocal numbers, registered
        registered += 1
        numbers += value.numel() if isinstance(value, torch.Tensor) else 0
        if numbers > most or registered > tensors:
            raise _TooLarge

    hooks = (
        modules.register_module_parameter_registration_hook(count),
        modules.register_module_buffer_registration_hook(count),
        modules.register_module_module_registration_hook(count),
    )
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            graph.network()
    except Exception as error:
        if not _caused_by_size(error):
            return  # a network that needs real numbers to be made; it is made for real next
        raise SourceError(
            f"the settings in the manifest describe a network {graph.name} that is far larger than "
            "the weights beside it",
            seen=[f"{name} = {s.value!r:.80}" for name, s in match.settings.items()][:20],
            remedy="convert the checkpoint again; the manifest was changed or damaged",
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _caused_by_size(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, _TooLarge):
        error = error.__cause__ or error.__context__
    return error is not None


def _count(shape: tuple[int, ...]) -> int:
    from math import prod

    return prod(shape)
