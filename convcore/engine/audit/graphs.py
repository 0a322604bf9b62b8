"""Graphs of an output, run once more against the networks of the weight files beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

from convcore.engine.audit.bounded import refuse_oversized
from convcore.engine.audit.initializers import graph_files
from convcore.engine.audit.rederived import mistyped
from convcore.errors import ConvcoreError, PluginError, TargetError
from convcore.layouts.graph import Graph
from convcore.layouts.layout import LayoutMatch
from convcore.targets.target import Check

_NEEDED = ("torch", "onnx", "onnxruntime")
_SHOWN = 20


def not_run(file: Mapping[str, Any], reason: str) -> Check:
    """Name a graph that was not compared again; its digest has spoken."""
    return Check(file["path"], "parity not re-run", True, {"reason": reason})


def uncomparable() -> str | None:
    """Say which packages a comparison would need, or None where they are there."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    return f"{', '.join(missing)} not installed" if missing else None


def audit_parity(
    folder: Path,
    content: Mapping[str, Any],
    match: LayoutMatch,
    atol: float | None,
    rtol: float | None,
    *,
    allow_nan: bool = False,
) -> Iterator[Check]:
    """Run each graph and the network of the weight files beside it on the same inputs.

    Raises:
        SourceError: The settings are of wrong types, or describe a network far larger than its
            weights.
    """
    files = graph_files(content)
    if not files:
        return
    try:
        known = {graph.name: graph for graph in match.graphs()} if match.states else {}
    except PluginError as error:
        raise mistyped(match, error) from error
    except ConvcoreError as error:
        yield from (not_run(file, error.what) for file in files)
        return
    for file in files:
        graph = known.get(file["component"])
        if graph is None or not all(match.states.get(part) for part in graph.components):
            yield not_run(file, "no weight files lie beside it to compute a reference")
        else:
            check = _parity(folder / file["path"], graph, match, atol, rtol, allow_nan)
            yield attrs.evolve(check, figures={**check.figures, **_recorded(content, check)})


def _recorded(content: Mapping[str, Any], check: Check) -> dict[str, str]:
    """Name the tolerances that the conversion was given, which are not taken on trust."""
    given = [
        f"--{name} {made[name]}"
        for made in content["checks"]
        if made["file"] == check.file and made["check"] == "parity"
        for name in ("atol", "rtol")
        if made.get(name) is not None
    ]
    return {"recorded": " ".join(given)} if given else {}


def _parity(
    path: Path,
    graph: Graph,
    match: LayoutMatch,
    atol: float | None,
    rtol: float | None,
    allow_nan: bool,
) -> Check:
    from convcore.targets import networks as network
    from convcore.verification import parity

    refuse_oversized(graph, match)
    try:
        module = network.build(graph, match)
    except PluginError as error:
        raise mistyped(match, error) from error
    except TargetError as error:
        return Check(path.name, "parity", False, {"problems": [error.what, *error.seen][:_SHOWN]})
    try:
        check = parity.compare(module, path, graph, atol=atol, rtol=rtol, allow_nan=allow_nan)
    except Exception as error:  # a graph of other inputs: onnxruntime's binding raises anything
        problem = f"it cannot be compared: {type(error).__name__}: {error!s:.200}"
        return Check(path.name, "parity", False, {"problems": [problem]})
    return attrs.evolve(check, file=path.name)
