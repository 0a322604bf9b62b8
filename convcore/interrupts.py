"""Ending on a signal: within a second, with nothing left behind, whatever is running just then."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE_SECONDS = 0.3
# GNU timeout signals the process and then its group: that is one wish, told twice.
_ECHO_SECONDS = 0.1
_POLL_SECONDS = 0.01


class Interrupted(BaseException):
    """A signal asked the run to end.

    Attributes:
        exit_code: 128 + the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class _State:
    """What the handler, the main thread and the watch share; plain attributes, no locks.

    A handler may run while the main thread holds any lock, so it may wait for none.
    """

    asked: int | None = None
    since = 0.0
    busy: set[object] = set()  # noqa: RUF012  # what must not be interrupted, in any thread
    over = True
    private: dict[Path, None] = {}  # noqa: RUF012  # one for the process, as signals are


def end_at_once() -> None:
    """Let signals end the process without a traceback: nothing is there to clean up."""
    for number in _heeded():
        signal.signal(number, lambda again, _: os._exit(128 + again))


def _heeded() -> list[signal.Signals]:
    """All but SIGHUP where it is ignored already: nohup means that the run is to go on."""
    deaf = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in _SIGNALS if not (deaf and number == signal.SIGHUP)]


def ignore() -> None:
    """Let signals pass: everything is done, and only the interpreter has to end."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn signals into ``Interrupted``; a second one ends the process at once.

    The same signal again within 100 ms is no second one.

    An exception alone would not do: Python drops it where a destructor or a library's callback
    was running, and a long call into a library delays it. So a thread removes what is private and
    ends the process after a short time in any case.
    """

    def heed(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if _State.asked is None:
            _State.asked, _State.since = number, now
            if not _State.busy:
                raise Interrupted(number)
        elif number != _State.asked or now - _State.since > _ECHO_SECONDS:
            os._exit(128 + number)

    try:
        before = {number: signal.signal(number, heed) for number in _heeded()}
    except ValueError:  # not the main thread: signals are somebody else's
        yield
        return
    try:
        with _watched():
            yield
        raise_if_asked()
    except Exception as error:
        # What a library made of the interrupt is no fault of its own.
        if _State.asked is not None:
            raise Interrupted(_State.asked) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _State.asked = None


@contextlib.contextmanager
def removed_at_the_end(path: Path) -> Iterator[None]:
    """Name a file or folder that an interrupted run must not leave behind."""
    _State.private[path] = None
    try:
        yield
    finally:
        _State.private.pop(path, None)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold the first signal back during a few short steps that belong together."""
    step = object()
    _State.busy.add(step)
    try:
        yield
    finally:
        _State.busy.discard(step)


def raise_if_asked() -> None:
    """Raise ``Interrupted`` if a signal came whose exception was dropped or held back."""
    if _State.asked is not None:
        raise Interrupted(_State.asked)


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Have a thread told of signals by the system, even while the main thread is in a library."""
    _State.over = False
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        _thread.start_new_thread(_watch, (reading,))
    except RuntimeError:  # no further thread can be started: the exception has to do
        os.close(reading)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        _State.over = True
        signal.set_wakeup_fd(before)
        os.close(writing)  # which ends the thread


def _watch(reading: int) -> None:
    number = 0
    while number not in _SIGNALS:
        told = os.read(reading, 1)
        if not told:
            os.close(reading)
            return
        number = told[0]
    time.sleep(_GRACE_SECONDS)
    while _State.busy and not _State.over:
        time.sleep(_POLL_SECONDS)
    if _State.over:
        os.close(reading)  # not before: a second signal is written there too
        return
    import shutil

    for path in tuple(_State.private):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    os._exit(128 + number)
