"""One traced graph, as torch's exporter gives it, and further ones with other weights in it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from convcore import Graph, TargetError
from convcore.interrupts import removed_at_the_end
from convcore.layouts.example_inputs import draw, sizes_for
from convcore_onnx.likeness import same_but_for_weights
from convcore_onnx.ranges import check_ranges

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


@attrs.frozen(eq=False)
class Export:
    """A network and its graph before any optimisation.

    Attributes:
        graph: What was exported; only its inputs and outputs count for another.
        module: The network in eval mode.
        model: Its ONNX form; initializers carry the names of the network's state dict.
        evidence: What torch assumed of the sizes.
    """

    graph: Graph
    module: torch.nn.Module
    model: ir.Model
    evidence: Sequence[str] = ()

    def serves(self, graph: Graph, module: torch.nn.Module) -> bool:
        """Whether ``refilled`` gives exactly what an export of this module would give.

        Proved by comparison: the same inputs, outputs and modules; every tensor of the state dict
        stands in the graph under its own name and with its own bytes, or has the same value in
        both networks. (``num_batches_tracked`` counts training steps and computes nothing.)
        """
        import torch

        own, other = self.module.state_dict(), module.state_dict()
        if (self.graph.inputs, self.graph.outputs) != (graph.inputs, graph.outputs):
            return False
        if not same_but_for_weights(self.module, module):
            return False
        initializers = self.model.graph.initializers
        for name, tensor in own.items():
            if name in initializers:
                if not holds(initializers[name], tensor):
                    return False
            elif not name.endswith("num_batches_tracked") and not torch.equal(tensor, other[name]):
                return False
        return True

    def refilled(self, module: torch.nn.Module) -> ir.Model:
        """Return a copy of the graph with the weights of another module that it ``serves``."""
        import onnx_ir as ir

        model = self.model.clone()
        for name, tensor in module.state_dict().items():
            value = model.graph.initializers.get(name)
            if value is not None:
                value.const_value = ir.tensor(tensor.numpy(), name=name)
        return model


def holds(value: ir.Value, tensor: torch.Tensor) -> bool:
    """Whether an initializer has the dtype, shape and bytes of a tensor."""
    import numpy as np

    if value.const_value is None:
        return False
    there, here = value.const_value.numpy(), tensor.detach().numpy()
    return (
        there.dtype == here.dtype
        and there.shape == here.shape
        and np.ascontiguousarray(there).tobytes() == np.ascontiguousarray(here).tobytes()
    )


def export(module: torch.nn.Module, graph: Graph, opset: int) -> Export:
    """Trace the network.

    Raises:
        TargetError: torch's exporter failed, with its reason in one line; or what it exported does
            not hold for all sizes of the axes.
    """
    import torch

    example = draw(graph, sizes_for(graph).traced)
    try:
        program = torch.onnx.export(
            module,
            tuple(torch.from_numpy(example[axis.name]) for axis in graph.inputs),
            input_names=[axis.name for axis in graph.inputs],
            output_names=[axis.name for axis in graph.outputs],
            opset_version=opset,
            # Plain names: a Dim can freeze an axis, or join two, without a word.
            dynamic_shapes=tuple(
                {place: size for place, size in enumerate(axis.shape) if isinstance(size, str)}
                for axis in graph.inputs
            ),
            dynamo=True,
            external_data=False,
            optimize=False,  # optimised graphs no longer have the state dict's tensors in them
            verbose=False,
        )
    except Exception as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        # The first line alone may be a heading ("Found the following conflicts:").
        said = " ".join(str(root).split()) or "no reason given"
        raise TargetError(
            f"torch could not export {graph.name}: {type(root).__name__}: {said[:380]}",
            remedy="write the weights with --to pth; a network that torch.export cannot follow "
            "needs a graph of its own in the layout",
        ) from error
    assert program is not None  # None stands for "written to a file", which was not asked for
    assert program.exported_program is not None  # only files that were read back have none
    evidence = check_ranges(program.exported_program, graph)
    return Export(graph, module, program.model, evidence)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's progress, warnings, logs and caches to itself."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        _private_cache(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


@contextlib.contextmanager
def _private_cache() -> Iterator[None]:
    """Give torch, which makes its compiler's cache folder even to export, one that goes again."""
    if _CACHE in os.environ:  # the user's own
        yield
        return
    with (
        tempfile.TemporaryDirectory(prefix="convcore-") as folder,
        removed_at_the_end(Path(folder)),
    ):
        os.environ[_CACHE] = folder
        try:
            yield
        finally:
            os.environ.pop(_CACHE, None)
