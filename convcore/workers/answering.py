"""The worker's end: requests on stdin, answers on stdout, and nothing else ever gets there."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from typing import Any

from convcore.workers.process import END

Tell = Callable[[Mapping[str, Any]], None]


def serve(answer: Callable[[dict[str, Any], Tell], None]) -> None:
    """Answer the requests of stdin, one JSON line each, until it is closed.

    What libraries print goes to stderr from now on. When stdin is closed, however its other end
    came to that, the process gets SIGTERM, whatever it is at.

    Args:
        answer: Given a request, and what to tell its answers.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message, separators=(",", ":")) + "\n")
        answers.flush()

    for request in _requests():
        answer(request, tell)
        tell(END)


def _requests() -> Iterator[dict[str, Any]]:
    waiting = SimpleQueue[str]()
    threading.Thread(target=_receive, args=(waiting,), daemon=True).start()
    while True:
        yield json.loads(waiting.get())


def _receive(waiting: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        waiting.put(line)
    os.kill(os.getpid(), signal.SIGTERM)
