"""Graphs of an output, held once more against the weight files beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

import attrs

from convcore import (
    Artifact,
    Check,
    CheckKind,
    ConvcoreError,
    Graph,
    LayoutMatch,
    Reopened,
    SourceError,
    TargetError,
)
from convcore_onnx.initializers import recheck_initializers

_NEEDED = ("torch", "onnx", "onnxruntime")
_SHOWN = 20


def recheck_graphs(artifacts: Sequence[Artifact], output: Reopened) -> Iterator[Check]:
    """Compare the numbers in each graph with the weights, and what it computes with its network.

    Raises:
        SourceError: The settings are of wrong types, or describe a network far larger than its
            weights.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if output.sound and not missing:
        yield from (recheck_initializers(artifact, output) for artifact in artifacts)
    reason = output.unable or (f"{', '.join(missing)} not installed" if missing else None)
    known: dict[str, Graph] = {}
    if reason is None and output.match is not None:
        from convcore.targets.rebuilding import graphs_again

        try:
            known = graphs_again(output.match)
        except SourceError:
            raise
        except ConvcoreError as error:
            reason = error.what
    for artifact in artifacts:
        graph = known.get(artifact.of)
        if reason is not None:
            yield _not_run(artifact, reason)
        elif output.match is None or graph is None or not _has_weights(graph, output.match):
            yield _not_run(artifact, "no weight files lie beside it to compute a reference")
        else:
            yield _parity(artifact, graph, output.match, output)


def _not_run(artifact: Artifact, reason: str) -> Check:
    """Name a graph that was not compared again; its digest has spoken."""
    return Check(artifact.path, "parity not re-run", True, {"reason": reason}, CheckKind.PARITY)


def _has_weights(graph: Graph, match: LayoutMatch) -> bool:
    return all(match.states.get(part) for part in graph.components)


def _parity(artifact: Artifact, graph: Graph, match: LayoutMatch, output: Reopened) -> Check:
    from convcore.targets.rebuilding import build_again
    from convcore.verification import parity

    given = {name: output.options[name] for name in ("atol", "rtol", "allow_nan")}
    try:
        module = build_again(graph, match)
    except TargetError as error:
        return _failed(artifact, output, [error.what, *error.seen])
    try:
        check = parity.compare(module, output.folder / artifact.path, graph, **given)
    except Exception as error:  # a graph of other inputs: onnxruntime's binding raises anything
        problem = f"it cannot be compared: {type(error).__name__}: {error!s:.200}"
        return _failed(artifact, output, [problem])
    figures = {**check.figures, **_recorded(artifact, output)}
    return attrs.evolve(check, file=artifact.path, figures=figures)


def _failed(artifact: Artifact, output: Reopened, problems: list[str]) -> Check:
    figures = {"problems": problems[:_SHOWN], **_recorded(artifact, output)}
    return Check(artifact.path, "parity", False, figures, CheckKind.PARITY)


def _recorded(artifact: Artifact, output: Reopened) -> dict[str, str]:
    """Name the tolerances that the conversion was given, which are not taken on trust."""
    given = [
        f"--{name} {made.figures[name]}"
        for made in output.checks
        if made.file == artifact.path and made.kind is CheckKind.PARITY
        for name in ("atol", "rtol")
        if made.figures.get(name) is not None
    ]
    return {"recorded": " ".join(given)} if given else {}
