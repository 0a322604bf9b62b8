from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from convcore.workers.process import Process
from tests.programs import Write, is_alive

# What a worker of ours is: it answers each request with what it is told to.
ECHO = """
import sys
from convcore.workers.answering import serve
def answer(request, tell):
    exec(request["do"])
serve(answer)
"""


def test_a_request_is_answered_until_its_end_and_then_the_next(
    program: Write, tmp_path: Path
) -> None:
    with Process(program(ECHO), tmp_path / "log") as process:
        first = list(process.ask({"do": "tell({'n': 1}); tell({'n': 2})"}))
        second = list(process.ask({"do": "tell({'n': 3})"}))

    assert (first, second, process.ended) == ([{"n": 1}, {"n": 2}], [{"n": 3}], False)


def test_what_libraries_print_does_not_disturb_the_answers(program: Write, tmp_path: Path) -> None:
    noise = "import os; print('from python', flush=True); os.write(1, b'from C'); tell({'n': 1})"

    with Process(program(f"print('on import')\n{ECHO}"), tmp_path / "log") as process:
        answers = list(process.ask({"do": noise}))

    said = (tmp_path / "log").read_text()
    assert answers == [{"n": 1}]
    assert ("from python" in said, "from C" in said) == (True, True)


@pytest.mark.parametrize("garbage", ["nonsense", "[1]", "7", '{"n": ', "\\xff\\xfe", ""], ids=repr)
def test_lines_that_are_no_answers_are_passed_over(
    garbage: str, program: Write, tmp_path: Path
) -> None:
    module = program(
        f"""
        import sys
        sys.stdout.buffer.write(b'{garbage}\\n' + b'{{"n": 1}}\\n{{"end": true}}\\n')
        sys.stdout.flush()
        sys.stdin.readline()
        """
    )

    with Process(module, tmp_path / "log") as process:
        assert list(process.ask({})) == [{"n": 1}]


def test_requests_and_answers_may_be_huge(program: Write, tmp_path: Path) -> None:
    """Larger than what a pipe holds, in both directions."""
    text = "x" * 5_000_000

    with Process(program(ECHO), tmp_path / "log") as process:
        answers = list(process.ask({"do": "tell({'text': request['text'] * 4})", "text": text}))

    assert len(answers[0]["text"]) == 20_000_000


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL: out of luck"),
        ("os._exit(3)", "ended early with status 3: out of luck"),
    ],
    ids=["killed", "left"],
)
def test_how_a_process_ended_is_told_with_its_last_words(
    end: str, said: str, program: Write, tmp_path: Path
) -> None:
    do = f"import os; tell({{'n': 1}}); print('out of luck', file=sys.stderr, flush=True); {end}"

    with Process(program(ECHO), tmp_path / "log") as process:
        answers = list(process.ask({"do": do}))

        assert (answers, process.ended, process.ending()) == ([{"n": 1}], True, said)


def test_a_silent_process_is_ended_while_it_is_asked_and_not_in_between(
    program: Write, tmp_path: Path
) -> None:
    with Process(program(ECHO), tmp_path / "log", silence=3.0) as process:
        import time

        assert list(process.ask({"do": "tell({'n': 1})"})) == [{"n": 1}]
        time.sleep(3.5)  # nobody asks
        assert list(process.ask({"do": "tell({'n': 2})"})) == [{"n": 2}]
        assert list(process.ask({"do": "import time; time.sleep(600)"})) == []

        assert process.ending() == "gave no answer for 3 s and was ended"


def test_a_process_that_is_gone_answers_nothing(program: Write, tmp_path: Path) -> None:
    with Process(program("raise SystemExit(4)"), tmp_path / "log") as process:
        process._process.wait(60)

        assert list(process.ask({"text": "x" * 1_000_000})) == []
        assert process.ending() == "ended early with status 4"


def test_leaving_early_ends_the_process_and_what_it_started(program: Write, tmp_path: Path) -> None:
    do = (
        "import subprocess, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "tell({'child': child.pid}); time.sleep(600)"
    )

    with Process(program(ECHO), tmp_path / "log") as process:
        child = next(process.ask({"do": do}))["child"]

    assert not is_alive(child)


@pytest.mark.parametrize("do", ["import time; time.sleep(600)", "pass"], ids=["busy", "idle"])
def test_a_worker_ends_when_its_command_does(do: str, program: Write, tmp_path: Path) -> None:
    process = Process(program(ECHO), tmp_path / "log")
    next(process.ask({"do": f"tell({{'n': 1}})\n{do}"}))

    process._requests.close()  # what the end of the command does, however it ends
    status = process._process.wait(timeout=60)

    assert status == -signal.SIGTERM
    process._answers.close()


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
        print(json.dumps({"environment": dict(os.environ), "files": files,
                          "safe": sys.flags.safe_path, "here": os.getcwd() in sys.path}))
        """
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    with (tmp_path / "secret").open("w") as opened:
        os.set_inheritable(opened.fileno(), True)
        with Process(module, tmp_path / "log") as process:
            found = next(process.ask({}))

    environment = found["environment"]
    assert not {*secrets} & environment.keys()
    assert environment["CUDA_VISIBLE_DEVICES"] == environment["CXX"] == "7"
    assert environment.keys() >= {"PATH", "KMP_AFFINITY", "PYTHONPATH"}
    assert (environment["PYTHONSAFEPATH"], environment["TMPDIR"]) == ("1", str(tmp_path))
    assert not any("secret" in file for file in found["files"])
    assert (found["safe"], found["here"]) == (True, False)
