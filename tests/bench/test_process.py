from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from convcore.bench import workers
from convcore.bench.job import Case, Job
from convcore.bench.sampling import Method
from convcore.workers.process import Process

CASES = tuple(Case({"batch": size}, "") for size in (1, 2, 3))
ANSWER = 'print(\'{"sizes": {"batch": %d}, "reason": "timed %d"}\', flush=True)'
Write = Callable[[str], str]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module that a worker process can run."""

    def write(source: str) -> str:
        (tmp_path / "stand_in.py").write_text(textwrap.dedent(source))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return "stand_in"

    return write


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


def test_leaving_early_ends_the_process_and_what_it_started(program: Write, tmp_path: Path) -> None:
    module = program(
        """
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(child.pid, flush=True)
        time.sleep(600)
        """
    )
    with Process(module, "{}", tmp_path / "log") as process:
        child = int(next(process.lines()))

    assert not _alive(child)


def test_a_worker_dies_when_its_command_does(program: Write, tmp_path: Path) -> None:
    module = program(
        """
        import sys, time
        from convcore.workers.process import answer_on_stdout
        sys.stdin.readline()
        answer_on_stdout().write("started\\n")
        time.sleep(600)
        """
    )
    process = Process(module, "{}", tmp_path / "log")
    assert process._process.stdin is not None

    process._process.stdin.close()  # what the end of the command does, however it ends
    status = process._process.wait(timeout=60)

    assert status == 1
    process._process.stdout.close()  # type: ignore[union-attr]


def test_what_libraries_print_does_not_disturb_the_answers(program: Write, tmp_path: Path) -> None:
    module = program(
        """
        import os, sys
        from convcore.workers.process import answer_on_stdout
        sys.stdin.readline()
        answers = answer_on_stdout()
        print("hello from python", flush=True)
        os.write(1, b"hello from C\\n")
        answers.write("the answer\\n"); answers.flush()
        os._exit(0)
        """
    )

    with Process(module, "{}", tmp_path / "log") as process:
        lines = list(process.lines())

    assert lines == ["the answer\n"]
    assert "hello from C" in (tmp_path / "log").read_text()


def test_a_process_inherits_no_secret_no_file_and_nothing_of_the_current_folder(
    program: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "MY_PASSWORD")
    for name in (*secrets, "CUDA_VISIBLE_DEVICES", "CXX", "KMP_AFFINITY"):
        monkeypatch.setenv(name, "7")
    module = program(
        """
        import json, os, sys
        files = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                 if os.path.exists(f"/proc/self/fd/{n}")]
        print(json.dumps([dict(os.environ), files, sys.flags.safe_path, os.getcwd() in sys.path]))
        """
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    with (tmp_path / "secret").open("w") as opened:
        os.set_inheritable(opened.fileno(), True)
        with Process(module, "{}", tmp_path / "log") as process:
            environment, files, safe, here = json.loads(next(process.lines()))

    assert not {*secrets} & environment.keys()
    assert environment["CUDA_VISIBLE_DEVICES"] == environment["CXX"] == "7"
    assert environment.keys() >= {"PATH", "KMP_AFFINITY", "PYTHONPATH"}
    assert (environment["PYTHONSAFEPATH"], environment["TMPDIR"]) == ("1", str(tmp_path))
    assert not any("secret" in file for file in files)
    assert (safe, here) == (True, False)


def _alive(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return False
            state = "?"
        if state == "Z":
            return False
        time.sleep(0.05)
    return True
