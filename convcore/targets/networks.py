"""Networks: a graph's torch module, filled with the weights of a match and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convcore.errors import TargetError
from convcore.names import counted, shared_prefix

if TYPE_CHECKING:
    import numpy as np
    import torch

    from convcore.layouts.graph import Affine, Graph
    from convcore.layouts.layout import LayoutMatch
    from convcore.tensors import LazyTensor

    States = Mapping[str, Mapping[str, LazyTensor]]

_COUNTER = "num_batches_tracked"


def build(graph: Graph, match: LayoutMatch, weights: States | None = None) -> torch.nn.Module:
    """Return the graph's network in eval mode, every tensor of it taken from the match.

    Args:
        graph: The function to compute; its ``affine`` is put around the network.
        match: Where the tensors come from.
        weights: Component name to tensors that stand in for the match's, under their names in the
            checkpoint; components not named here keep the match's.

    Raises:
        TargetError: Tensors are missing, misshapen or too many; all of them are named.
    """
    module = bare(graph, match, weights)
    return module if graph.affine is None else _normalised(module, graph.affine)


def bare(graph: Graph, match: LayoutMatch, weights: States | None = None) -> torch.nn.Module:
    """Return the network as ``build`` does, without the graph's ``affine`` around it."""
    import torch

    # Random initial weights are drawn and overwritten; the caller's generator must not notice.
    with torch.random.fork_rng(devices=[]):
        module = graph.network()
    names = placed(graph, match, tuple(module.state_dict()))
    states = {part: {**match.states.get(part, {}), **(weights or {}).get(part, {})}
              for part in graph.components}  # fmt: skip
    tensors = {key: states[part][name] for key, (part, name) in names.items()}
    _check(graph, module, tensors)
    module.load_state_dict({key: tensor.load() for key, tensor in tensors.items()}, strict=False)
    return module.eval().requires_grad_(False)


def placed(
    graph: Graph, match: LayoutMatch, keys: tuple[str, ...] = ()
) -> dict[str, tuple[str, str]]:
    """Map every key of the network's state dict to (component, name in the checkpoint).

    Args:
        graph: With one component, the keys are its names without their shared prefix; with several,
            one submodule per component, so named, holds that component's.
        match: Dropped tensors are left out.
        keys: Keys of the network; the prefix that those of one component share is put back, so that
            a network may keep its origin's ``model.`` where the whole component lies below it.
    """
    single = len(graph.components) == 1
    found = {}
    for part in graph.components:
        names = [name for name in match.states.get(part, ()) if name not in match.dropped]
        cut = len(shared_prefix(names))
        outer = "" if single else f"{part}."
        prefix = shared_prefix(key for key in keys if key.startswith(outer)) or outer
        found.update({prefix + name[cut:]: (part, name) for name in names})
    return found


def run(module: torch.nn.Module, graph: Graph, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[
    str, np.ndarray[Any, Any]
]:  # fmt: skip
    """Compute the graph's outputs by name, each in the shape of its ``Axis``."""
    import torch

    with torch.inference_mode():
        answer = module(*(torch.from_numpy(inputs[axis.name]) for axis in graph.inputs))
    values = (answer,) if isinstance(answer, torch.Tensor) else tuple(answer)
    if len(values) != len(graph.outputs):
        raise ValueError(f"{graph.name} declares {len(graph.outputs)} outputs, not {len(values)}")
    return {axis.name: v.numpy() for axis, v in zip(graph.outputs, values, strict=True)}


def widened(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters and buffers of a network in float64, for ``run_exactly``."""
    made: dict[int, torch.Tensor] = {}
    wide = {}
    # Each module once, and each of its tensors, even where others hold the same one: a name too
    # few would leave a float32 behind, one too many would be put back in the wrong order.
    for prefix, part in module.named_modules():
        for name, tensor in (*part._parameters.items(), *part._buffers.items()):
            if tensor is not None and tensor.is_floating_point():
                wide[f"{prefix}.{name}" if prefix else name] = made.setdefault(
                    id(tensor), tensor.double()
                )
    return wide


def run_exactly(
    module: torch.nn.Module,
    wide: Mapping[str, torch.Tensor],
    graph: Graph,
    inputs: Mapping[str, np.ndarray[Any, Any]],
) -> dict[str, np.ndarray[Any, Any]] | None:
    """Compute what ``run`` does in float64; None where the network cannot.

    The module keeps its own weights; ``wide`` (see ``widened``) stands in for them meanwhile.
    Tensors that a network keeps beside its parameters and buffers stay as they are.
    """
    import torch

    given = [torch.from_numpy(inputs[axis.name]) for axis in graph.inputs]
    given = [value.double() if value.is_floating_point() else value for value in given]
    try:
        with torch.inference_mode():
            answer = torch.func.functional_call(module, dict(wide), tuple(given), tie_weights=False)
    except Exception:  # an operator without float64, a cast in the network: whatever it says
        return None
    values = (answer,) if isinstance(answer, torch.Tensor) else tuple(answer)
    if any(value.is_floating_point() and value.dtype != torch.float64 for value in values):
        return None  # it went back to float32 by itself
    return {axis.name: v.numpy() for axis, v in zip(graph.outputs, values, strict=True)}


def _check(graph: Graph, module: torch.nn.Module, tensors: Mapping[str, LazyTensor]) -> None:
    own = module.state_dict()
    seen = [
        f"missing: {key} {tuple(value.shape)}"
        for key, value in own.items()
        if key not in tensors and not key.endswith(_COUNTER)
    ]
    seen += [f"not of this network: {key}" for key in tensors if key not in own]
    seen += [
        f"wrong shape: {key} is {tensor.spec.shape}, should be {tuple(own[key].shape)}"
        for key, tensor in tensors.items()
        if key in own and tuple(own[key].shape) != tuple(tensor.spec.shape)
    ]
    # torch would take the real part and drop the rest with no more than a warning.
    seen += [
        f"wrong type: {key} is {tensor.dtype}, the network computes with {own[key].dtype}"
        for key, tensor in tensors.items()
        if key in own and tensor.dtype.startswith("complex") and not own[key].is_complex()
    ]
    if seen:
        raise TargetError(
            f"the network of {graph.name} cannot take these weights: "
            f"{counted(len(seen), 'difference')}",
            seen=seen,
            remedy="write the component as it is, with --to pth or --to safetensors",
        )


def _normalised(module: torch.nn.Module, affine: Affine) -> torch.nn.Module:
    """Put the normalisation of ``Affine`` around a network of one input and one output."""
    import torch

    class Normalised(torch.nn.Module):
        mean_in: torch.Tensor
        std_in: torch.Tensor
        mean_out: torch.Tensor
        std_out: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.inner = module
            floats = [t for t in module.state_dict().values() if t.is_floating_point()]
            dtype = floats[0].dtype if floats else torch.float32
            for name in ("mean_in", "std_in", "mean_out", "std_out"):
                value = torch.tensor(getattr(affine, name), dtype=dtype)
                self.register_buffer(name, value, persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.inner((x - self.mean_in) / self.std_in)
            return y * self.std_out + self.mean_out

    return Normalised().eval()
