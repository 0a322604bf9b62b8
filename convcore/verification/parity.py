"""Parity: does an ONNX file compute what the torch network computes, and how nearly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from convcore import onnx_runtime
from convcore.targets.networks import run, run_exactly, widened
from convcore.targets.target import Check
from convcore.verification import channels, telling
from convcore.verification.constants import disagreements
from convcore.verification.numerics import NOTHING, Tolerance, measure
from convcore.verification.trials import Trial, inputs_of, trials

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    import torch

    from convcore.layouts.graph import Graph
    from convcore.verification.numerics import Arrays


@attrs.frozen
class Run:
    """What was computed from one input: by torch, by the file, and by torch in float64."""

    trial: Trial
    reference: Arrays
    found: Arrays
    exact: Arrays | None


def compare(
    module: torch.nn.Module,
    path: Path,
    graph: Graph,
    *,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
    allow_nan: bool = False,
    program: ir.Model | None = None,
) -> Check:
    """Run the network and the file on the same inputs and compare every output.

    Beside the tolerance, every channel of an output has to be as near to the network's result in
    float64 as float32 allows (``convcore.verification.channels``), and integers have to be equal.

    Args:
        module: The reference, as ``convcore.targets.networks.build`` makes it.
        path: The ONNX file, external data beside it.
        graph: What both compute.
        atol: See ``convcore.verification.numerics.Tolerance``. One that is given counts for the
            channels too; what only it lets pass is not proved.
        rtol: Likewise.
        seed: Of the inputs.
        allow_nan: Let an output pass that is NaN for every input; it is not proved then.
        program: What torch exported, with the weights of ``module``: what no output can show is
            held against it (``convcore.verification.constants``). None leaves that out.

    Returns:
        A check named ``parity`` with the figures of ``convcore.verification.numerics.measure``, the
        tolerances that were given, so that the same can be asked again, the ``inputs`` tried and
        ``worst_channel``. ``proved`` is true where nothing was found, and ``unproved`` says what is
        not shown by a comparison that passed (an output that never changes, NaN, no float64). A
        check failed with ``problems`` where something cannot be right.
    """
    runs: list[Run] = []
    misfits: list[str] = []
    try:
        runner = onnx_runtime.session(path)
        names = [output.name for output in runner.get_outputs()]
        wide: Mapping[str, torch.Tensor] | None = widened(module)
        for trial in trials(module, graph, seed):
            inputs = inputs_of(trial, module, graph)
            reference = run(module, graph, inputs)
            misfits += _misfits(graph, inputs, reference)
            exact = None
            if wide is not None and trial.exact:
                exact = run_exactly(module, wide, graph, inputs)
                if exact is None:
                    wide = None  # nor will it for the inputs that follow
            found = dict(zip(names, runner.run(None, inputs), strict=True))
            runs.append(Run(trial, reference, found, exact))
    except onnx_runtime.errors() as error:
        problem = f"onnxruntime cannot run it: {onnx_runtime.told(error)}"
        return Check(path.name, "parity", False, {"proved": False, "problems": [problem]})
    passed, figures = measure([(one.reference, one.found) for one in runs], Tolerance(atol, rtol))
    figures["float64"] = wide is not None
    problems, unproved, worst = _judged(runs, atol, rtol, figures, allow_nan=allow_nan)
    if program is not None:
        wrong, unexplained = disagreements(path, program, graph.affine)
        problems, unproved = problems + wrong, unproved + unexplained
    own = figures.pop("problems", [])
    if own == [NOTHING]:  # every NaN and infinity stands where it should; ``_judged`` tells them
        own, passed = [], True
    problems = [*dict.fromkeys([*own, *problems, *misfits])]
    asked = {"atol": atol, "rtol": rtol, "worst_channel": worst}
    figures |= {name: value for name, value in asked.items() if value is not None}
    figures["inputs"] = [str(one.trial) for one in runs]
    figures["proved"] = passed and not problems and not unproved
    for name, sentences in (("unproved", unproved), ("problems", problems)):
        if sentences:
            figures[name] = sentences
    return Check(path.name, "parity", passed and not problems, figures)


def _judged(
    runs: Sequence[Run],
    atol: float | None,
    rtol: float | None,
    figures: dict[str, Any],
    *,
    allow_nan: bool,
) -> tuple[list[str], list[str], dict[str, Any] | None]:
    """Return what cannot be right, what is not proved, and the figures of the worst channel."""
    problems: list[str] = []
    unproved: list[str] = []
    worst: channels.Channel | None = None
    told: dict[str, Any] | None = None
    for name in runs[0].reference:
        reference = [one.reference[name] for one in runs]
        found = [one.found.get(name) for one in runs]
        if any(
            f is None or (f.shape, f.dtype) != (r.shape, r.dtype)
            for r, f in zip(reference, found, strict=True)
        ):
            continue  # ``measure`` has said so
        there = [one for one in found if one is not None]
        if telling.never_a_number(reference):
            said = f"output {name} is NaN for every input"
            (unproved if allow_nan else problems).append(said)
            continue
        silent = telling.silence(name, reference)
        if silent is not None:
            unproved.append(silent)
        elif still := telling.constant_channels(reference):
            figures.setdefault("constant_channels", {})[name] = still
        if reference[0].dtype.kind != "f":
            continue
        exact = [None if one.exact is None else one.exact[name] for one in runs]
        if not figures["float64"]:
            ratio = channels.snr_db(reference, there)
            if ratio is not None and ratio < channels.SNR_DB:
                problems.append(
                    f"output {name} has a signal-to-noise ratio of {ratio:.1f} dB, less than "
                    f"{channels.SNR_DB:g} dB (the network does not run in float64)"
                )
            continue
        one = channels.furthest(reference, there, exact)
        if one is None:
            continue
        if worst is None or one.error * worst.allowed > worst.error * one.allowed:
            worst = one
            told = {"output": name, **attrs.asdict(one), "run": str(runs[one.run].trial)}
        if not one.fits:
            said = (
                f"output {name}, {one.place}, is {one.error:.3g} from the float64 result where "
                f"torch in float32 is {one.noise:.3g} from it and {one.allowed:.3g} is allowed "
                f"(inputs: {runs[one.run].trial})"
            )
            # A tolerance that somebody stated is an answer to this, but no proof.
            (problems if atol is None and rtol is None else unproved).append(said)
    return problems, unproved, told


def _misfits(graph: Graph, inputs: Arrays, outputs: Arrays) -> Iterator[str]:
    """Yield outputs of the network that do not have the shape their axes declare."""
    sizes: dict[int | str, int] = {}
    for axis in graph.inputs:
        sizes.update(zip(axis.shape, inputs[axis.name].shape, strict=True))
    for axis in graph.outputs:
        found = outputs[axis.name].shape
        wanted = tuple(sizes.get(size, size) for size in axis.shape)
        # An output may have an axis that no input names; then any size of it is right.
        if len(found) != len(wanted) or any(
            isinstance(size, int) and size != n for size, n in zip(wanted, found, strict=True)
        ):
            yield f"the network gives {axis.name} as {found}, declared is {wanted}"
