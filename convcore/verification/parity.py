"""Parity: does an ONNX file compute what the torch network computes, and how nearly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from convcore import onnx_runtime
from convcore.targets.check import Check, CheckKind
from convcore.targets.networks import run
from convcore.verification import channels, telling
from convcore.verification.constants import disagreements
from convcore.verification.exactness import Float64
from convcore.verification.numerics import NOTHING, Tolerance, measure
from convcore.verification.trials import (
    Effort,
    Trial,
    first_trial,
    further_trials,
    inputs_of,
)

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

    from convcore.layouts.graph import Graph
    from convcore.verification.numerics import Array, Arrays


@attrs.frozen
class Run:
    """What was computed from one input, by torch and by the file."""

    trial: Trial
    reference: Arrays
    found: Arrays


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
    first, effort = first_trial(graph, seed), Effort()
    inputs = inputs_of(first, module, graph)
    with effort.watching(module):
        reference = run(module, graph, inputs)
    with effort.threads() as threads:
        runs: list[Run] = []
        misfits: list[str] = []
        try:
            runner = onnx_runtime.session(path, threads, spinning=False)
            names = [output.name for output in runner.get_outputs()]
            for trial in (first, *further_trials(graph, effort, seed)):
                if trial is not first:
                    inputs = inputs_of(trial, module, graph)
                    reference = run(module, graph, inputs)
                misfits += _misfits(graph, inputs, reference)
                found = dict(zip(names, runner.run(None, inputs), strict=True))
                runs.append(Run(trial, reference, found))
        except onnx_runtime.errors() as error:
            return _cannot_run(path, onnx_runtime.told(error))
        again = [partial(inputs_of, one.trial, module, graph) for one in runs]
        float64 = Float64(module, graph, again)
        judged = _judged(runs, float64, stated=(atol, rtol) != (None, None), allow_nan=allow_nan)
    passed, figures = measure([(one.reference, one.found) for one in runs], Tolerance(atol, rtol))
    problems, unproved = judged.problems, judged.unproved
    if program is not None:
        wrong, unexplained = disagreements(path, program, graph.affine)
        problems, unproved = problems + wrong, unproved + unexplained
    own = figures.pop("problems", [])
    if own == [NOTHING]:  # every NaN and infinity stands where it should; ``_judged`` tells them
        own, passed = [], True
    problems = [*dict.fromkeys([*own, *problems, *misfits])]
    figures["float64"] = float64.possible
    known = {"atol": atol, "rtol": rtol, "worst_channel": judged.worst}
    figures |= {name: value for name, value in known.items() if value is not None}
    figures |= {"constant_channels": judged.still} if judged.still else {}
    figures["inputs"] = [{"kind": one.trial.kind, "sizes": dict(one.trial.sizes)} for one in runs]
    figures["proved"] = passed and not problems and not unproved
    for name, sentences in (("unproved", unproved), ("problems", problems)):
        if sentences:
            figures[name] = sentences
    return Check(path.name, "parity", passed and not problems, figures, CheckKind.PARITY)


def _cannot_run(path: Path, why: str) -> Check:
    figures = {"proved": False, "problems": [f"onnxruntime cannot run it: {why}"]}
    return Check(path.name, "parity", False, figures, CheckKind.PARITY)


@attrs.define
class Judged:
    """What the outputs of all runs show.

    Attributes:
        problems: What cannot be right.
        unproved: What is not shown.
        still: By output, how many channels are the same for every input.
        worst: The channel that comes nearest to its limit.
    """

    problems: list[str] = attrs.field(factory=list)
    unproved: list[str] = attrs.field(factory=list)
    still: dict[str, int] = attrs.field(factory=dict)
    worst: dict[str, Any] | None = None


def _judged(runs: Sequence[Run], float64: Float64, *, stated: bool, allow_nan: bool) -> Judged:
    judged = Judged()
    numbers: dict[str, tuple[Sequence[Array], Sequence[Array]]] = {}
    for name in runs[0].reference:
        reference = [one.reference[name] for one in runs]
        found = [one.found[name] for one in runs if name in one.found]
        if [(one.shape, one.dtype) for one in found] != [(r.shape, r.dtype) for r in reference]:
            continue  # ``measure`` has said so
        if telling.never_a_number(reference):
            said = f"output {name} is NaN for every input"
            (judged.unproved if allow_nan else judged.problems).append(said)
            continue
        judged.unproved += telling.unknown_channels(name, reference)
        silent = telling.silence(name, reference)
        if silent is not None:
            judged.unproved.append(silent)
        elif still := telling.constant_channels(reference):
            judged.still[name] = still
        if reference[0].dtype.kind == "f":
            numbers[name] = reference, found
    worst = {name: float64.furthest(name, *each) for name, each in numbers.items()}
    if not float64.possible:
        judged.problems += _noisy(numbers)
        return judged
    there = {name: one for name, one in worst.items() if one is not None}
    for name, one in there.items():
        if not one.fits:
            said = (
                f"output {name}, {one.place}, is {one.error:.3g} from the float64 result where "
                f"torch in float32 is {one.noise:.3g} from it and {one.allowed:.3g} is allowed "
                f"(inputs: {runs[one.run].trial})"
            )
            # A tolerance that somebody stated is an answer to this, but no proof.
            (judged.unproved if stated else judged.problems).append(said)
    if there:
        name, one = max(there.items(), key=lambda item: item[1].share)
        trial = str(runs[one.run].trial)
        judged.worst = {"output": name, **attrs.asdict(one), "run": trial}
    return judged


def _noisy(numbers: Mapping[str, tuple[Sequence[Array], Sequence[Array]]]) -> Iterator[str]:
    """Yield outputs that are far from the network's, where there is no float64 to tell by."""
    for name, (reference, found) in numbers.items():
        ratio = channels.snr_db(reference, found)
        if ratio is not None and ratio < channels.SNR_DB:
            yield (
                f"output {name} has a signal-to-noise ratio of {ratio:.1f} dB, less than "
                f"{channels.SNR_DB:g} dB (the network does not run in float64)"
            )


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
