"""What several test modules stand on: the example checkpoint and a command line in a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import hypothesis
import pytest

from tests.environments import Environment, fresh
from tests.programs import Write, write_program

# The same examples every time: a change is not blamed for what a lucky draw finds in old code.
hypothesis.settings.register_profile("steady", derandomize=True)
# HYPOTHESIS_PROFILE=default looks for new ones.
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/cyclegan/last.ckpt"
# Seconds after which a process is taken to hang; one on a busy machine is only slow.
HUNG_AFTER = 500


@attrs.frozen
class Ran:
    """A finished command: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """Its standard output as the one JSON document it must be."""
        return json.loads(self.out)


def call(*words: object, env: dict[str, str] | None = None, **options: object) -> Ran:
    """Run ``convcore`` with these words in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "convcore", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=HUNG_AFTER,
        env={**os.environ, **(env or {})},
        **options,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def convcore() -> Callable[..., Ran]:
    """The command line, run in a process of its own."""
    return call


@pytest.fixture
def example() -> Path:
    """A checkpoint that a real Lightning Trainer wrote (examples/cyclegan/train.py)."""
    return EXAMPLE


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module that a worker process can run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda source: write_program(tmp_path, source)


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """Signals mean what they do at a prompt, even where the tests run under nohup or as a job.

    A process started with a signal ignored hands that on to its children, and convcore respects it.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        interrupt = number is signal.SIGINT
        signal.signal(number, signal.default_int_handler if interrupt else signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One fresh virtual environment beside convcore, for everything that has to be installed."""
    return fresh(tmp_path_factory.mktemp("environment"))
