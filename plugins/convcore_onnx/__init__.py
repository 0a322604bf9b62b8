"""Target ``onnx``: one file per graph of the layout, each proved against its network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from convcore.host.hookspecs import hookimpl
from convcore.targets.target import Check, LedgerEntry, Output, Target, Workspace
from convcore_onnx.planning import plan


def write(outputs: Sequence[Output], workspace: Workspace) -> Iterable[LedgerEntry]:
    """Export and write every planned graph."""
    from convcore_onnx.writing import write_graphs

    return write_graphs(outputs, workspace)


def verify(outputs: Sequence[Output], workspace: Workspace) -> Iterable[Check]:
    """Compare every written graph with its network, built from the weights beside it."""
    from convcore_onnx.proving import prove_graphs

    return prove_graphs(outputs, workspace)


@hookimpl
def convcore_targets() -> list[Target]:
    """Declare the target."""
    return [
        Target(
            "onnx",
            "one ONNX file per graph, with parity proved by onnxruntime",
            ".onnx",
            plan=plan,
            write=write,
            verify=verify,
            needs=("torch", "onnx", "onnxruntime", "onnxscript"),
            heeds=("opset", "atol", "rtol", "all_components"),
            needs_layout=True,
        )
    ]
