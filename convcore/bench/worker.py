"""The process that times one contender: a job, and an answer for each of its cases.

Started as ``python -m convcore.bench.worker`` by ``convcore.bench.workers``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.bench.backends.contender import Contender, load
from convcore.bench.interference import cpu_use, others_share
from convcore.bench.job import Answer, Case, Job
from convcore.bench.record import Parity, Run
from convcore.bench.sampling import sample, warm_up
from convcore.workers.answering import Tell, serve
from convcore.workers.messages import as_message, from_message

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

_REASON_LENGTH = 300


def main() -> None:
    """Work off the one job of stdin."""

    def answer(request: dict[str, Any], tell: Tell) -> None:
        work(from_message(request, Job), lambda answer: tell(as_message(answer)))

    serve(answer)


def work(job: Job, tell: Callable[[Answer], None]) -> None:
    """Load the contender once, then time it at every size; a fault ends one size, not the job."""
    try:
        contender = load(job)
    except Exception as error:
        tell(Answer(None, reason=brief(error)))
        return
    providers: Mapping[str, int] | None = None
    with contender.context():
        for case in job.cases:
            try:
                answer, providers = measure(contender, case, job, providers)
            except Exception as error:
                answer = Answer(case.sizes, reason=brief(error))
            tell(answer)


def measure(
    contender: Contender, case: Case, job: Job, providers: Mapping[str, int] | None
) -> tuple[Answer, Mapping[str, int]]:
    """First call, parity, warm-up, timed calls.

    Args:
        contender: What to call.
        case: At which size.
        job: By which rules.
        providers: What an earlier case found to have run the nodes, or None.
    """
    arrays = read_arrays(Path(case.arrays))
    bound = contender.bind(arrays["in"])
    contender.reset_peak()
    began = time.perf_counter()
    answer = bound.step()
    outputs = bound.outputs(answer)
    first_call = time.perf_counter() - began
    del answer
    if providers is None:
        providers = contender.providers()
    parity = compare(arrays["out"], outputs, job.atol) if arrays["out"] else None
    if parity is not None and not parity.passed:  # wrong results are not worth timing
        return Answer(case.sizes, parity=parity, providers=providers), providers

    def call() -> int:
        return contender.clock.time(bound.step)

    warmup = warm_up(call, job.method)
    before = cpu_use()
    sampling = sample(call, job.method)
    run = Run(
        sampling.samples_ns,
        iterations=len(sampling.samples_ns),
        settled=sampling.settled,
        warmup=warmup,
        import_s=contender.import_s,
        load_s=contender.load_s,
        first_call_s=first_call,
        peak_bytes=contender.peak(),
        copy_ns=bound.copy_ns,
        others_busy=others_share(before, cpu_use()),
    )
    return Answer(case.sizes, run=run, parity=parity, providers=providers), providers


def read_arrays(path: Path) -> dict[str, Arrays]:
    """Read inputs and expected outputs: ``{"in": {name: array}, "out": {name: array}}``."""
    import numpy as np

    found: dict[str, dict[str, Any]] = {"in": {}, "out": {}}
    with np.load(path) as stored:
        for key in stored.files:
            side, _, name = key.partition(":")
            found[side][name] = stored[key]
    return dict(found)


def compare(expected: Arrays, outputs: Arrays, atol: float | None) -> Parity:
    """Compare outputs with torch eager's."""
    from convcore.verification import numerics as agreement

    passed, figures = agreement.measure([(expected, outputs)], agreement.Tolerance(atol))
    return Parity(
        passed,
        figures["max_abs"],
        figures["snr_db"],
        figures["tolerance"],
        "; ".join(figures.get("problems", ())) or None,
    )


def brief(error: BaseException) -> str:
    """An exception as one line: its kind and the first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= _REASON_LENGTH else text[: _REASON_LENGTH - 1] + "…"


if __name__ == "__main__":
    main()
