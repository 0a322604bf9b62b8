"""Every file that a run opens for reading: none may change until its output is published."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from convcore.errors import SourceError
from convcore.tensors.faults import Malformed

_Identity = tuple[int, int, int, int]


class Opened:
    """Paths, each with the identity of the file that it named when it was first opened."""

    def __init__(self) -> None:
        self._first: dict[Path, _Identity] = {}
        self._settled = False
        self._other: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Absolute paths, in the order in which they were first opened."""
        return tuple(self._first)

    def note(self, path: Path, facts: os.stat_result) -> None:
        """Remember a file, or compare it with what was opened under this path before.

        Raises:
            SourceError: It is another file now, or was written to.
        """
        path = path.absolute()
        if path in self._first or not self._settled:
            identity = identity_of(facts)
            if self._first.setdefault(path, identity) != identity:
                self._other = path  # whatever the reader makes of the error
                raise _changed(path)

    def settle(self) -> None:
        """Remember no further file: everything that decides the output was opened."""
        self._settled = True

    def check_unchanged(self) -> None:
        """Compare every path with the file that it named at first.

        Raises:
            SourceError: One changed, was replaced or removed.
        """
        if self._other is not None:
            raise _changed(self._other)
        for path, identity in self._first.items():
            try:
                same = identity_of(path.stat()) == identity
            except OSError:
                same = False
            if not same:
                raise _changed(path)


_RUN: ContextVar[Opened | None] = ContextVar("_RUN", default=None)


@contextlib.contextmanager
def watched() -> Iterator[Opened]:
    """Remember every file that is opened for reading in this context.

    Raises:
        SourceError: Something failed, and a file had changed meanwhile: that is the true cause.
    """
    opened = Opened()
    token = _RUN.set(opened)
    try:
        yield opened
    except Exception as error:
        try:
            opened.check_unchanged()
        except SourceError as cause:
            raise cause from error
        raise
    finally:
        _RUN.reset(token)


def note(path: Path, facts: os.stat_result | None = None) -> None:
    """Tell the run, if one is on, which file a path stands for just now."""
    opened = _RUN.get()
    if opened is not None:
        with contextlib.suppress(FileNotFoundError):
            opened.note(path, facts or path.stat())


def identity_of(facts: os.stat_result) -> _Identity:
    """What two looks at one unchanged file have in common: device, inode, bytes, time."""
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _changed(path: Path) -> Exception:
    return Malformed(
        "the file changed while reading", "let whatever writes the file finish, then start again"
    ).at(path)
