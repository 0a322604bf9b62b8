"""Target ``onnx``: one file per graph of the layout, each proved against its network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from pathlib import Path

from convcore import (
    Artifact,
    Check,
    Choice,
    LayoutMatch,
    LazyTensor,
    LedgerEntry,
    Reopened,
    Target,
    TargetOption,
    Workspace,
    hookimpl,
)
from convcore.layouts.settings import true_or_false
from convcore_onnx.opsets import DEFAULT_OPSET

convcore_api = 2


def plan(match: LayoutMatch, choice: Choice) -> Iterable[Artifact]:
    """Plan one file per graph whose components were all chosen."""
    from convcore_onnx.planning import plan_graphs

    return plan_graphs(match, choice)


def write(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterable[LedgerEntry]:
    """Export and write every planned graph."""
    from convcore_onnx.writing import write_graphs

    return write_graphs(artifacts, workspace)


def check(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterable[Check]:
    """Compare every written graph with its network, built from the weights beside it."""
    from convcore_onnx.proving import prove_graphs

    return prove_graphs(artifacts, workspace)


def reopen(folder: Path, artifact: Artifact) -> dict[str, LazyTensor]:
    """Read the numbers inside a graph."""
    from convcore_onnx.initializers import read_initializers

    return read_initializers(folder, artifact)


def recheck(artifacts: Sequence[Artifact], output: Reopened) -> Iterable[Check]:
    """Compare every graph of an output with the weight files beside it."""
    from convcore_onnx.rechecking import recheck_graphs

    return recheck_graphs(artifacts, output)


def tolerance(text: str) -> float:
    """Read what a difference is held against; ValueError for no number from 0 on."""
    value = float(text)
    if not 0 <= value < inf:
        raise ValueError("give 0 or more")
    return value


@hookimpl
def convcore_targets() -> list[Target]:
    """Declare the target."""
    return [
        Target(
            "onnx",
            "one ONNX file per graph, with parity proved by onnxruntime",
            plan,
            write,
            check,
            reopen,
            recheck,
            needs=("torch", "onnx", "onnxruntime", "onnxscript"),
            options=(
                TargetOption("opset", "operator set", int, DEFAULT_OPSET),
                TargetOption("atol", "absolute parity tolerance", tolerance),
                TargetOption("rtol", "relative parity tolerance", tolerance),
                TargetOption(
                    "all_components", "whether training graphs are written", true_or_false, False
                ),
                TargetOption(
                    "allow_nan", "whether outputs may be NaN, not proved", true_or_false, False
                ),
            ),
            needs_layout=True,
            kind="graph",
        )
    ]
