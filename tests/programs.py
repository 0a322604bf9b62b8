"""Programs that stand in for a worker process."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

Write = Callable[[str], str]


def write_program(folder: Path, source: str) -> str:
    """Write a module and return its name."""
    (folder / "stand_in.py").write_text(textwrap.dedent(source))
    return "stand_in"


def is_alive(pid: int) -> bool:
    """Whether a process is there after a while in which it may end."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return False
            state = "?"
        if state == "Z":
            return False
        time.sleep(0.05)
    return True
