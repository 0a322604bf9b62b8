"""The process that converts for a session, where exports may print and set what they like.

Started as ``python -m convcore.session_worker`` by ``convcore.session``. What it is sent are
pickles of the session and of the request; what it answers is one of the report, or of the error.
"""

from __future__ import annotations

import base64
import functools
import os
import pickle
import warnings
from traceback import format_exception
from typing import Any

import attrs

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import ConvcoreError, PluginWarning
from convcore.interrupts import Interrupted, interruptible
from convcore.session import Session
from convcore.workers.answering import Tell, serve


def main() -> None:
    """Convert what is asked for on stdin until that is closed."""
    try:
        with interruptible():
            serve(answer)
    except Interrupted as signal:
        os._exit(signal.exit_code)


def answer(request: dict[str, Any], tell: Tell) -> None:
    """Convert, and tell progress, warnings, and in the end the report or the error.

    Where the session or the request means something that this process does not have, a layout that
    lives in the user's own program for example, the answer is ``unfit``.
    """
    if request["folder"]:
        os.chdir(request["folder"])
    os.umask(request["umask"])
    try:
        session = _session(request["session"])
        asked: Request = pickle.loads(base64.b64decode(request["asked"]))
        registry = session.registry(asked.layout_file)
    except ConvcoreError as error:
        tell({"pickled": _pickled(error)})
        return
    except Exception as error:
        tell({"unfit": repr(error)})
        return
    # Plugins are told of a conversion by the session that asked for it.
    registry = attrs.evolve(registry, manager=None)
    warnings.simplefilter("always", PluginWarning)
    warnings.showwarning = functools.partial(_forward, tell)
    try:
        answered: object = convert(asked, registry, lambda *told: tell({"progress": told}))
    except Exception as error:
        answered = error
    tell({"pickled": _pickled(answered)})


@functools.lru_cache(maxsize=4)
def _session(recipe: str) -> Session:
    session: Session = pickle.loads(base64.b64decode(recipe))
    session.own_process = True
    return session


def _forward(tell: Tell, message: Warning | str, category: type[Warning], *_: Any) -> None:
    if issubclass(category, PluginWarning):
        tell({"warning": str(message)})


def _pickled(answered: object) -> str:
    if isinstance(answered, Exception) and not isinstance(answered, ConvcoreError):
        answered.add_note("in the process that exports:\n" + "".join(format_exception(answered)))
    try:
        pickled = pickle.dumps(answered)
        pickle.loads(pickled)  # what an exception's constructor wants need not be what it keeps
    except Exception:
        if not isinstance(answered, Exception):
            raise
        pickled = pickle.dumps(RuntimeError("".join(format_exception(answered))))
    return base64.b64encode(pickled).decode()


if __name__ == "__main__":
    main()
