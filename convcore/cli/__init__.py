"""The command line: it speaks and exits; everything else raises."""

from __future__ import annotations

import gc
import os
import sys


def run() -> None:
    """Run the command line and exit with its code, as ``convcore.errors`` lists them."""
    # Before anything that takes time is imported: an interrupt must not end in a traceback.
    from convcore.interrupts import end_at_once, ignore

    end_at_once()
    # A checkpoint of 40,000 tensors is a million objects that all stay: looking for garbage among
    # them again and again would take a third of the time.
    gc.set_threshold(200_000, 20, 20)
    from convcore.cli.commands import answer

    exit_code = answer(sys.argv[1:])
    ignore()
    # Everything is said and flushed. Taking a million objects and the libraries apart again would
    # only keep the user waiting.
    os._exit(exit_code)
