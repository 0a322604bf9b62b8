"""SHA-256 of a folder's files, which go to the disk meanwhile, beside their comparison."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from convcore.targets.weights.files import sha256_of


class Digests:
    """Hashes and flushes the files of a folder, from entering to leaving the context.

    Each has a thread of its own: hashing and reading let other threads run, and flushing mostly
    waits for the disk, so both cost next to nothing beside a comparison of the same files.
    """

    def __init__(self, folder: Path) -> None:
        self._found: dict[Path, str] = {}
        self._faults: list[OSError] = []
        self._stop = threading.Event()
        self._paths = sorted(path for path in folder.iterdir() if path.is_file())
        self._threads = [
            threading.Thread(target=self._each, args=(work,), daemon=True)
            for work in (self._hash, flush)
        ]

    def __enter__(self) -> Digests:
        with contextlib.suppress(RuntimeError):  # no further thread: each is hashed when asked for
            for thread in self._threads:
                thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        if error is None and self._faults:
            raise self._faults[0]

    def of(self, path: Path) -> str:
        """SHA-256 of a file in hexadecimal; computed now if it was not there at the start."""
        return self._found.get(path) or sha256_of(path)

    def _hash(self, path: Path) -> None:
        self._found[path] = sha256_of(path)

    def _each(self, work: Callable[[Path], None]) -> None:
        try:
            for path in self._paths:
                if not self._stop.is_set():
                    work(path)
        except OSError as error:
            self._faults.append(error)


def flush(path: Path) -> None:
    """Bring a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
