"""Processes that are told one JSON line and answer in JSON lines, and die with the command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from convcore.workers.environment import inherited

_LAST_WORDS = 400


class Process:
    """One ``python -P -m MODULE``; used as a context manager, which ends it and all it started.

    It inherits three pipes and files, and of the environment what ``inherited`` lets through.

    Args:
        module: What to run.
        request: The line it is told; its stdin stays open until the end, so that it notices ours.
        log: File for its stderr.
        environment: Its environment; None for what it needs to have of ours.
        silence: Seconds without an answer after which it is killed; None waits for ever.

    Attributes:
        silent: Whether it had to be killed for saying nothing.
    """

    def __init__(
        self,
        module: str,
        request: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> None:
        self.silent = False
        self._log = log
        self._silence = silence
        self._timer: threading.Timer | None = None
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=inherited(log.parent) if environment is None else environment,
                encoding="utf-8",
                start_new_session=True,  # an interrupt at the terminal is ours to handle
            )
        with contextlib.suppress(BrokenPipeError):  # it died at once: its status says more
            assert self._process.stdin is not None  # a pipe
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()

    def lines(self) -> Iterator[str]:
        """Yield its answers until it ends or is too long silent."""
        assert self._process.stdout is not None  # a pipe
        try:
            self._watch()
            for line in self._process.stdout:
                self._watch()
                if line.endswith("\n"):  # a line cut off by its death says nothing
                    yield line
        finally:
            if self._timer is not None:
                self._timer.cancel()

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

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._silence is not None:
            self._timer = threading.Timer(self._silence, self._kill)
            self._timer.daemon = True
            self._timer.start()

    def _kill(self) -> None:
        self.silent = True
        self._process.kill()


def answer_on_stdout() -> IO[str]:
    """In the started process: take stdout for answers alone, and die when stdin is closed.

    What libraries print goes to stderr from now on. Read the request before calling this.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_die_with_stdin, daemon=True).start()
    return answers


def _die_with_stdin() -> None:
    sys.stdin.read()
    os._exit(1)
