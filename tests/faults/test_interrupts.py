"""A signal ends a run within a second and leaves nothing, whatever was running just then."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convcore.interrupts import Interrupted, interruptible, raise_if_asked, uninterrupted
from tests.conftest import HUNG_AFTER

pytestmark = pytest.mark.usefixtures("heeded_signals")

# Each does the work of a run that holds a private folder when the signal comes.
STUBBORN = {
    "an exception that a destructor drops": """
class Odd:
    def __del__(self):
        ready(); time.sleep(30)
Odd()
""",
    "a library that turns it into its own error": """
try:
    ready(); time.sleep(30)
except BaseException as error:
    raise RuntimeError("export failed") from None
""",
    "a long call into a library": """
import hashlib
ready(); hashlib.pbkdf2_hmac("sha256", b"a", b"b", 40_000_000)
""",
    "a loop that catches everything": """
ready()
while True:
    try:
        time.sleep(0.01)
    except BaseException:
        pass
""",
}
PROGRAM = """
import sys, time
from pathlib import Path
from convcore.interrupts import Interrupted, interruptible
from convcore.output.staging import staged
def ready():
    print("ready", flush=True)
try:
    with interruptible(), staged(Path(sys.argv[1])) as staging:
        (staging.folder / "half").write_text("x")
        exec(compile(sys.argv[2], "work", "exec"))
        staging.publish()
except Interrupted as signal_:
    sys.exit(signal_.exit_code)
"""


def exit_code_of(work: str, number: signal.Signals, output: Path) -> int:
    """Run the program with this work, send the signal once it is at it, and wait for its end."""
    command = [sys.executable, "-c", PROGRAM, str(output), work]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        return process.wait(timeout=HUNG_AFTER)


@pytest.mark.parametrize("work", STUBBORN.values(), ids=STUBBORN.keys())
def test_nothing_that_runs_can_keep_an_interrupted_run_from_ending(
    work: str, tmp_path: Path
) -> None:
    exit_code = exit_code_of(work, signal.SIGTERM, tmp_path / "out")

    assert exit_code == 143
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_ends_the_run_at_once_and_without_a_word(tmp_path: Path) -> None:
    work = (
        "try: ready(); time.sleep(30)\n"
        "except BaseException: time.sleep(0.15); ready(); time.sleep(30)"
    )
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "out"), work]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=HUNG_AFTER)

    assert (process.returncode, said) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_same_signal_twice_within_a_moment_is_one_and_nothing_is_left(
    number: signal.Signals, tmp_path: Path
) -> None:
    """GNU timeout signals the process, and then the group that it belongs to."""
    again = f"import os, signal; os.kill(os.getpid(), signal.{number.name})"
    work = f"try: ready(); time.sleep(30)\nexcept BaseException: {again}; raise"

    exit_code = exit_code_of(work, number, tmp_path / "out")

    assert exit_code == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_before_the_command_is_imported_is_no_traceback() -> None:
    program = (
        "import builtins, os, signal, sys\n"
        "true_import = builtins.__import__\n"
        "def importing(name, *rest, **more):\n"
        "    if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return true_import(name, *rest, **more)\n"
        "builtins.__import__ = importing\n"
        "from convcore.cli import run\n"
        "run()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=HUNG_AFTER,
        check=False,
    )

    assert (done.returncode, done.stderr) == (130, "")


def test_steps_that_belong_together_are_finished_before_an_interrupt_is_told() -> None:
    done = []

    def work() -> None:
        with interruptible():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
                done.append("both")
            raise_if_asked()
            time.sleep(5)

    with pytest.raises(Interrupted) as caught:
        work()

    assert done == ["both"]
    assert caught.value.exit_code == 130


def test_a_run_that_was_interrupted_unnoticed_is_not_published(tmp_path: Path) -> None:
    work = "try: ready(); time.sleep(30)\nexcept BaseException: pass"
    exit_code = exit_code_of(work, signal.SIGINT, tmp_path / "out")

    assert exit_code == 130
    assert list(tmp_path.iterdir()) == []
