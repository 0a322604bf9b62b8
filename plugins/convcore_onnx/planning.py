"""Which graphs are written, and everything that can be refused before any work is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING

import attrs

from convcore import Artifact, Choice, Graph, LayoutError, LayoutMatch, TargetError, UsageError
from convcore.names import counted, few
from convcore.targets.networks import placed
from convcore_onnx.opsets import DEFAULT_OPSET, OPSETS

if TYPE_CHECKING:
    import onnx_ir as ir

# Above this size of its weights a graph keeps them in a file of their own.
EXTERNAL_ABOVE = 100 << 20
_NODES, _PER_TENSOR = 256 << 10, 1 << 10


@attrs.define(eq=False)
class Job:
    """What is remembered of a planned file until it is proved.

    Attributes:
        graph: What it computes.
        opset: Asked for.
        program: What torch exported, before any change, with this graph's weights; set by writing.
    """

    graph: Graph
    opset: int
    program: ir.Model | None = None


def plan_graphs(match: LayoutMatch, choice: Choice) -> Iterator[Artifact]:
    """Plan one file per graph whose components were all chosen.

    Raises:
        TargetError: The opset is not supported, the layout has no graphs, one was refused for good,
            or a component holds keys that no network takes.
        LayoutError: A graph lacks settings that ``--config`` can give.
        UsageError: No graph is made of the chosen components alone.
    """
    opset: int = choice.options["opset"]
    if opset not in OPSETS:
        raise TargetError(
            f"ONNX opset {opset} is not supported",
            seen=[f"supported: {', '.join(map(str, OPSETS))}"],
            remedy=f"choose one of these with --opset; the default is {DEFAULT_OPSET}",
        )
    graphs = chosen_graphs(match, choice)
    _refuse_extra(match, graphs)
    return (_artifact(match, graph, opset) for graph in graphs)


def chosen_graphs(match: LayoutMatch, choice: Choice) -> list[Graph]:
    """Return the graphs to write, none of which is refused."""
    every = list(match.graphs())
    if not every:
        raise TargetError(
            f"the layout {match.layout.name} has no graphs, so there is no network to export",
            remedy="write weight files with --to pth or --to safetensors",
        )
    training = {part.name for part in match.layout.components if part.role == "training"}
    graphs = [
        graph
        for graph in every
        if set(graph.components) <= set(choice.components)
        and (
            choice.options["all_components"]
            or (graph.role != "training" and not training & set(graph.components))
        )
    ]
    if not graphs:
        raise UsageError(
            f"no graph of {match.layout.name} is made of {', '.join(choice.components)} alone",
            seen=[f"{graph.name} needs {', '.join(graph.components)}" for graph in every],
            remedy="name all components of a graph; those for training need --all-components",
        )
    _refuse_refused(match, graphs)
    return graphs


def _refuse_refused(match: LayoutMatch, graphs: Sequence[Graph]) -> None:
    refused = [graph for graph in graphs if graph.refusal is not None]
    if not refused:
        return
    what = f"{', '.join(graph.name for graph in refused)} of {match.layout.name} cannot be exported"
    seen = [f"{graph.name}: {graph.refusal}" for graph in refused]
    missing = list(dict.fromkeys(name for graph in refused for name in graph.missing))
    if missing:
        options = " ".join(f"--config {name}=…" for name in missing)
        raise LayoutError(
            f"{what} without {', '.join(missing)}: {refused[0].refusal}",
            seen=seen,
            remedy=f"give {options}",
        )
    named = {part for graph in refused for part in graph.components}
    others = [part for graph in graphs for part in graph.components if part not in named]
    instead = " ".join(f"--component {name}" for name in dict.fromkeys(others))
    raise TargetError(
        f"{what}: {refused[0].refusal}",
        seen=seen,
        remedy=f"export the rest with {instead}" if instead else "write it with --to pth",
    )


def _refuse_extra(match: LayoutMatch, graphs: Sequence[Graph]) -> None:
    used = {name for graph in graphs for part in graph.components for name in match.states[part]}
    extra = [name for name in match.extra if name in used and name not in match.dropped]
    if extra:
        raise TargetError(
            f"{counted(len(extra), 'tensor')} outside the networks of {match.layout.name}: "
            f"{few(extra)}",
            seen=extra,
            remedy="write the component as it is, with --to pth or --to safetensors",
        )


def _artifact(match: LayoutMatch, graph: Graph, opset: int) -> Artifact:
    names = {key: name for key, (_, name) in placed(graph, match).items()}
    specs = [match.checkpoint.tensors[name].spec for name in names.values()]
    weights = sum(4 * prod(spec.shape) for spec in specs)
    path = f"{graph.name}.onnx"
    return Artifact(
        path,
        "onnx",
        graph.name,
        names,
        weights + _NODES + _PER_TENSOR * len(names),
        also=(f"{path}_data",) if weights > EXTERNAL_ABOVE else (),
        plan=Job(graph, opset),
    )
