"""SHA-256 of files: of one, or of a folder's while the main thread compares them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from types import TracebackType

from convcore.weights import PIECE


class Digests:
    """Hashes and flushes the files of a folder in a thread, from entering to leaving the context.

    Hashing, reading and flushing let other threads run, so this costs next to nothing beside a
    comparison of the same files.
    """

    def __init__(self, folder: Path) -> None:
        self._known: dict[Path, str] = {}
        self._faults: list[OSError] = []
        self._stop = threading.Event()
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        self._thread = threading.Thread(target=self._work, args=(paths,), daemon=True)

    def __enter__(self) -> Digests:
        with contextlib.suppress(RuntimeError):  # no further thread: each is hashed when asked for
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if error is None and self._faults:
            raise self._faults[0]

    def of(self, path: Path) -> str:
        """SHA-256 of a file in hexadecimal; computed now if it was not there at the start."""
        return self._known.get(path) or sha256_of(path) or ""

    def _work(self, paths: list[Path]) -> None:
        try:
            for path in paths:
                if not self._stop.is_set():
                    self._known[path] = sha256_of(path) or ""
                    flush(path)
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
