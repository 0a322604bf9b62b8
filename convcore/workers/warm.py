"""A worker that stays for further requests, and is replaced when it has died."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from convcore.workers.environment import inherited
from convcore.workers.process import Process

_GRACE_SECONDS = 3.0


class WorkerDied(Exception):
    """The process ended before it had answered; the text says how."""


class WarmWorker:
    """One process for many requests, one at a time; started when the first one comes.

    It finds what this process finds: one that was started under another ``sys.path``, under another
    environment or before a fork is not asked any more.

    Args:
        module: What it runs; its end is ``answering.serve``.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._turn = threading.Lock()
        self._process: Process | None = None
        self._made_for: tuple[int, Mapping[str, str]] = 0, {}
        self._end: weakref.finalize[Any, Any] | None = None

    def ask(self, request: object, heard: Callable[[dict[str, Any]], None]) -> None:
        """Have a request answered; ``heard`` is called with each answer.

        Raises:
            WorkerDied: The process ended before the request was answered; the next one is asked of
                another. Whatever ``heard`` raises ends it, too.
        """
        with self._turn:
            process = self._ready()
            answered = False
            try:
                for answer in process.ask(request):
                    heard(answer)
                if process.ended:
                    raise WorkerDied(process.ending())
                answered = True
            finally:
                if not answered:
                    self.close()

    def close(self) -> None:
        """End the process, if there is one; the next request starts another."""
        if self._end is not None:
            self._end()
        self._process = None

    def _ready(self) -> Process:
        path = os.pathsep.join(filter(None, sys.path))
        made_for = os.getpid(), {**inherited(Path()), "PYTHONPATH": path}
        if self._process is not None and self._made_for != made_for:
            if self._end is not None and self._made_for[0] != made_for[0]:
                self._end.detach()  # it is our parent's to end
                self._end = None
            self.close()
        if self._process is None:
            scratch = tempfile.TemporaryDirectory(prefix="convcore-worker-")
            folder = Path(scratch.name)
            environment = {**inherited(folder), "PYTHONPATH": path}
            self._process = Process(self._module, folder / "stderr", environment)
            self._made_for = made_for
            self._end = weakref.finalize(self, _ended, self._process, scratch)
        return self._process


def _ended(process: Process, scratch: tempfile.TemporaryDirectory[str]) -> None:
    process.end(_GRACE_SECONDS)
    scratch.cleanup()
