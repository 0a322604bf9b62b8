from __future__ import annotations

from pathlib import Path

from convcore.bench import workers
from convcore.bench.job import Case, Job
from convcore.bench.sampling import Method
from tests.programs import Write

CASES = tuple(Case({"batch": size}, "") for size in (1, 2, 3))
ANSWER = 'print(\'{"sizes": {"batch": %d}, "reason": "timed %d"}\', flush=True)'


def answers(module: str, scratch: Path, silence: float = 60.0) -> list[tuple[int, str | None]]:
    job = Job("", "g", "torch", "cpu", 1, CASES, Method(), str(scratch))
    found = workers.answers_of(job, module=module, silence=silence)
    return [(case.sizes["batch"], answer.reason) for case, answer in found]


def test_answers_come_in_the_order_of_the_cases(program: Write, tmp_path: Path) -> None:
    module = program("\n".join(ANSWER % (n, n) for n in (1, 2, 3)))

    assert answers(module, tmp_path) == [(1, "timed 1"), (2, "timed 2"), (3, "timed 3")]


def test_a_killed_worker_leaves_what_it_answered(program: Write, tmp_path: Path) -> None:
    module = program(
        f"""
        import os, signal, sys
        {ANSWER % (1, 1)}
        sys.stderr.write("out of luck\\n"); sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )

    found = answers(module, tmp_path)

    killed = "the worker was ended by SIGKILL: out of luck"
    assert found == [(1, "timed 1"), (2, killed), (3, killed)]


def test_a_worker_that_cannot_load_fails_every_case(program: Write, tmp_path: Path) -> None:
    module = program('print(\'{"sizes": null, "reason": "no such graph"}\')')

    assert answers(module, tmp_path) == [(size, "no such graph") for size in (1, 2, 3)]


def test_a_silent_worker_is_ended_and_named_silent(program: Write, tmp_path: Path) -> None:
    module = program(f"import time\n{ANSWER % (1, 1)}\ntime.sleep(600)")

    found = answers(module, tmp_path, silence=1.0)

    assert found[0] == (1, "timed 1")
    assert found[2] == (3, "the worker gave no answer for 1 s and was ended")


def test_half_a_line_is_no_answer(program: Write, tmp_path: Path) -> None:
    module = program('import sys\nsys.stdout.write(\'{"sizes": {"bat\'); sys.exit(3)')

    assert answers(module, tmp_path)[0] == (1, "the worker ended early with status 3")
