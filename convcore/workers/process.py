"""One process that is told JSON lines, answers in JSON lines, and dies with the one that tells it.

The other end, in that process, is ``answering``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convcore.workers.environment import inherited

# What a worker says when a request is answered to the end.
END: Mapping[str, bool] = {"end": True}
_LAST_WORDS = 400


class Process:
    """One ``python -P -m MODULE``; used as a context manager, which ends it and all it started.

    It inherits three pipes and files, and of the environment what ``inherited`` lets through.

    Args:
        module: What to run.
        log: File for its stderr.
        environment: Its environment; None for what it needs to have of ours.
        silence: Seconds without an answer after which it is killed; None waits for ever.

    Attributes:
        silent: Whether it had to be killed for saying nothing.
        ended: Whether it has closed its end, so that it answers nothing any more.
    """

    def __init__(
        self,
        module: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> None:
        self.silent = False
        self.ended = False
        self._log = log
        self._silence = silence
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=inherited(log.parent) if environment is None else environment,
                encoding="utf-8",
                errors="replace",  # whatever else gets into the pipe
                start_new_session=True,  # an interrupt at the terminal is ours to handle
            )
        assert self._process.stdin is not None  # pipes
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self, grace: float = 0.0) -> None:
        """End it and all it started, after it had some seconds to clear up what it was at."""
        with contextlib.suppress(OSError):
            self._requests.close()  # by which it learns
        with contextlib.suppress(subprocess.TimeoutExpired):
            if grace:
                self._process.wait(grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._answers.close()
        self._process.wait()

    def ask(self, request: object) -> Iterator[dict[str, Any]]:
        """Tell it a request and yield its answers, until that is answered or the process ends.

        Lines that are no JSON object, which a library may print before anybody can prevent it, are
        no answers. Leaving before the end leaves the process of no further use.
        """
        try:
            self._requests.write(json.dumps(request, separators=(",", ":")) + "\n")
            self._requests.flush()
        except OSError:  # it died at once: its status says more
            self.ended = True
            return
        while True:
            with self._impatient():
                line = self._answers.readline()
            if not line.endswith("\n"):  # a line cut off by its death says nothing
                self.ended = True
                return
            answer = _answer(line)
            if answer == END:
                return
            if answer is not None:
                yield answer

    def ending(self) -> str:
        """Say how it ended, with the last line of its stderr."""
        status = self._process.wait()
        if self.silent:
            return f"gave no answer for {self._silence:.0f} s and was ended"
        lines = self._log.read_text("utf-8", errors="replace").strip().splitlines()
        last = f": {lines[-1][:_LAST_WORDS]}" if lines else ""
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}{last}"
        return f"ended early with status {status}{last}"

    @contextlib.contextmanager
    def _impatient(self) -> Iterator[None]:
        if self._silence is None:
            yield
            return
        timer = threading.Timer(self._silence, self._kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill(self) -> None:
        self.silent = True
        self._process.kill()


def _answer(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
