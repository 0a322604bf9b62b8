"""SHA-256 of files: of one, or of a folder's while the main thread compares them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from convcore.weights import PIECE


class Digests:
    """Hashes and flushes the files of a folder, from entering to leaving the context.

    Each has a thread of its own: hashing and reading let other threads run, and flushing mostly
    waits for the disk, so both cost next to nothing beside a comparison of the same files.
    """

    def __init__(self, folder: Path) -> None:
        self._known: dict[Path, str] = {}
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
        return self._known.get(path) or sha256_of(path) or ""

    def _hash(self, path: Path) -> None:
        self._known[path] = sha256_of(path) or ""

    def _each(self, work: Callable[[Path], None]) -> None:
        try:
            for path in self._paths:
                if not self._stop.is_set():
                    work(path)
        except OSError as error:
            self._faults.append(error)


def sha256_of(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal; None for a folder."""
    if path.is_dir():
        return None
    digest = hashlib.sha256()
    view = memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(view):
            digest.update(view[:count])
    return digest.hexdigest()


def flush(path: Path) -> None:
    """Bring a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
