"""The command line from its first moment, before anything of it is imported, to its exit code."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the part that is built in; signal takes a while
import gc
import os
import sys


def run() -> None:
    """Run the command line and exit with its code, as ``convcore.errors`` lists them."""
    # Before anything that takes time is imported, signal itself included: an interrupt must not
    # end in a traceback.
    for number in (_signal.SIGINT, _signal.SIGTERM):
        _signal.signal(number, lambda again, _: os._exit(128 + again))
    from convcore.interrupts import end_at_once, ignore

    end_at_once()
    # What is started from here, and from there, imports nothing from the current directory either.
    os.environ["PYTHONSAFEPATH"] = "1"
    # A checkpoint of 40,000 tensors is a million objects that all stay: looking for garbage among
    # them again and again would take a third of the time.
    gc.set_threshold(200_000, 20, 20)
    from convcore.cli.commands import answer

    exit_code = answer(sys.argv[1:])
    ignore()
    # Everything is said and flushed. Taking a million objects and the libraries apart again would
    # only keep the user waiting.
    os._exit(exit_code)
