from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from convcore.workers.warm import WarmWorker, WorkerDied
from tests.programs import Write, is_alive
from tests.workers.test_process import ECHO

PID = "import os; tell({'pid': os.getpid(), 'folder': os.environ['TMPDIR']})"


def asked(worker: WarmWorker, do: str) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    worker.ask({"do": do}, answers.append)
    return answers


def test_one_process_answers_all_requests(program: Write) -> None:
    worker = WarmWorker(program(ECHO))

    first, second = asked(worker, PID), asked(worker, PID)
    worker.close()

    assert first == second
    assert not is_alive(first[0]["pid"])
    assert not Path(first[0]["folder"]).exists()


def test_a_process_that_died_is_named_and_replaced(program: Write) -> None:
    worker = WarmWorker(program(ECHO))
    first = asked(worker, PID)

    with pytest.raises(WorkerDied, match=r"^was ended by SIGKILL: no memory left$"):
        asked(worker, "import os; os.write(2, b'no memory left\\n'); os.kill(os.getpid(), 9)")
    second = asked(worker, PID)
    worker.close()

    assert first[0]["pid"] != second[0]["pid"]


def test_whoever_stops_listening_ends_the_process(program: Write) -> None:
    worker = WarmWorker(program(ECHO))
    heard: list[dict[str, Any]] = []

    def interrupted(answer: dict[str, Any]) -> None:
        heard.append(answer)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.ask({"do": f"{PID}; import time; time.sleep(600)"}, interrupted)

    assert not is_alive(heard[0]["pid"])


def test_threads_take_turns(program: Write) -> None:
    worker = WarmWorker(program(ECHO))
    answers: dict[int, list[dict[str, Any]]] = {}

    def ask(number: int) -> None:
        answers[number] = asked(worker, f"for n in range(200): tell({{'n': {number}}})")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker.close()

    assert answers == {number: [{"n": number}] * 200 for number in range(8)}


@pytest.mark.parametrize("change", ["path", "variable"])
def test_a_process_is_replaced_where_ours_finds_something_else_now(
    change: str, program: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = WarmWorker(program(ECHO))
    first = asked(worker, PID)
    if change == "path":
        monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    else:
        monkeypatch.setenv("CONVCORE_DISABLE_PLUGINS", "convcore_umc")

    second = asked(worker, f"{PID}; tell({{'path': sys.path, 'environment': dict(os.environ)}})")
    worker.close()

    assert first[0]["pid"] != second[0]["pid"]
    there = {*second[1]["path"], second[1]["environment"].get("CONVCORE_DISABLE_PLUGINS")}
    assert {"path": str(tmp_path / "plugins"), "variable": "convcore_umc"}[change] in there


def test_a_forked_process_starts_one_of_its_own_and_leaves_that_of_its_parent(
    program: Write,
) -> None:
    worker = WarmWorker(program(ECHO))
    first = asked(worker, PID)[0]["pid"]

    child = os.fork()
    if not child:
        try:
            own = asked(worker, PID)[0]["pid"]
            worker.close()
            os._exit(0 if own != first else 1)
        finally:
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert (status, asked(worker, PID)[0]["pid"]) == (0, first)
    worker.close()
