"""Which sizes torch found a traced graph to hold for, against the axes that the layout declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from convcore import TargetError
from convcore.layouts.example_inputs import sizes_for

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from convcore import Graph

# torch writes "no upper bound" as infinity, or as a number near the largest integer.
_ENDLESS = 1 << 31


def check_ranges(program: ExportedProgram, graph: Graph) -> list[str]:
    """Return what torch assumed of the dynamic axes, as evidence.

    Raises:
        TargetError: An axis has an upper bound, or one size, which nobody declared.
    """
    sizes = sizes_for(graph)
    evidence, faults = [], []
    for name, expression in _sizes(program, graph):
        tried = [each[name] for each in (sizes.traced, *sizes.others)]
        if isinstance(expression, int):
            faults.append(f"{name} is {expression} in what torch exported, not any size")
            continue
        step, symbol = expression.as_coeff_Mul()
        known = program.range_constraints.get(symbol)
        if known is None:
            continue
        low, high = (_number(known.lower), _number(known.upper))
        if high is not None:
            faults.append(f"{name} is at most {int(step) * high}: the network decides by its size")
        if low is not None and int(step) * low > 1:
            evidence.append(
                f"{graph.name}: {name} is at least {int(step) * low}; tried from {min(tried)} on"
            )
        if int(step) > 1:
            evidence.append(f"{graph.name}: {name} is a multiple of {int(step)}")
    if faults:
        raise TargetError(
            f"{graph.name} is not right for all sizes of its axes: {faults[0]}",
            seen=faults,
            remedy="give the axis one size in the layout, as a number, or take the decision out of "
            "the network; the weights can be written with --to pth",
        )
    return list(dict.fromkeys(evidence))


def _sizes(program: ExportedProgram, graph: Graph) -> Iterator[tuple[str, Any]]:
    """Yield each dynamic axis with what torch made of it: a number, or an expression."""
    wanted = set(program.graph_signature.user_inputs)
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    given = [node.meta["val"] for node in nodes if node.name in wanted]
    for axis, value in zip(graph.inputs, given, strict=True):
        for size, found in zip(axis.shape, value.shape, strict=True):
            if isinstance(size, str):
                inner = getattr(found, "node", None)
                yield size, int(found) if inner is None else inner.expr


def _number(bound: Any) -> int | None:
    try:
        number = int(bound)
    except (AttributeError, OverflowError, TypeError, ValueError):  # sympy's infinities
        return None
    return None if number >= _ENDLESS else number
