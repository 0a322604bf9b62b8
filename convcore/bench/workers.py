"""Having contenders timed; a worker that dies takes nothing of what it answered with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from convcore.bench.job import Answer, Case, Job
from convcore.workers.environment import inherited
from convcore.workers.messages import as_message, from_message
from convcore.workers.process import Process

SILENCE_SECONDS = 900.0
_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def answers_of(
    job: Job, *, module: str = "convcore.bench.worker", silence: float = SILENCE_SECONDS
) -> Iterator[tuple[Case, Answer]]:
    """Run one job in a process of its own and yield an answer for every case of it, in order.

    Cases that the process did not come to, because it crashed, was killed, or was silent for too
    long, are answered with the reason.
    """
    waiting = list(job.cases)
    reason = None
    log = Path(job.scratch, "stderr")
    with Process(module, log, environment(job), silence) as process:
        for message in process.ask(as_message(job)):
            answer = from_message(message, Answer)
            if answer.sizes is None:
                reason = answer.reason
            elif waiting:
                yield waiting.pop(0), answer
        if waiting and reason is None:
            reason = f"the worker {process.ending()}"
    for case in waiting:
        yield case, Answer(case.sizes, reason=reason)


def environment(job: Job) -> Mapping[str, str]:
    """The worker's environment: what it needs of ours, its threads, and caches of its own."""
    off = (os.environ.get("CONVCORE_DISABLE_PLUGINS"), *job.disabled)
    return {
        **inherited(Path(job.scratch)),
        **dict.fromkeys(_POOLS, str(job.threads)),
        "CONVCORE_DISABLE_PLUGINS": ",".join(name for name in off if name),
    }
