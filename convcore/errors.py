"""What can go wrong, each kind with its exit code and a remedy."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, ClassVar


class ConvcoreError(Exception):
    """A fault that is explained already: printed as a sentence, never as a traceback.

    Args:
        what: One sentence with real values: what is wrong.
        seen: All the evidence, one item each (every missing key, not the first).
        remedy: What the user can do about it.
        kind: Overrides the class's word for ``--json``, for example ``unsafe``.
    """

    exit_code: ClassVar[int] = 1
    default_kind: ClassVar[str] = "error"

    def __init__(
        self, what: str, *, seen: Iterable[str] = (), remedy: str, kind: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.seen = tuple(seen)
        self.remedy = remedy
        self.kind = kind or self.default_kind

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would call the class with what is in ``args`` alone. Causes stay behind.
        return _raised_elsewhere, (type(self), self.what), vars(self)

    def as_dict(self) -> dict[str, Any]:
        """The error as the ``error`` object of ``--json``."""
        return {
            "kind": self.kind,
            "what": self.what,
            "seen": list(self.seen),
            "remedy": self.remedy,
            "exit_code": self.exit_code,
        }


def _raised_elsewhere(kind: type[ConvcoreError], what: str) -> ConvcoreError:
    return kind.__new__(kind, what)


class PluginWarning(UserWarning):
    """Something installed is at fault, or a run has to wait; work goes on without it."""


class UsageError(ConvcoreError):
    """The command cannot be carried out as given: missing file, existing output, unknown name."""

    exit_code: ClassVar[int] = 2
    default_kind: ClassVar[str] = "usage"


class SourceError(ConvcoreError):
    """The input is no checkpoint, is damaged or unsafe, or two sources claim it."""

    exit_code: ClassVar[int] = 3
    default_kind: ClassVar[str] = "source"


class LayoutError(ConvcoreError):
    """The tensors do not form exactly one known layout, or its configuration is incomplete."""

    exit_code: ClassVar[int] = 4
    default_kind: ClassVar[str] = "layout"


class TargetError(ConvcoreError):
    """The output cannot be written: missing package, opset, disk, export."""

    exit_code: ClassVar[int] = 5
    default_kind: ClassVar[str] = "target"


class VerificationError(ConvcoreError):
    """What was written does not equal, or does not compute, what was read."""

    exit_code: ClassVar[int] = 6
    default_kind: ClassVar[str] = "verification"


class PluginError(ConvcoreError):
    """Plugins contradict one another, or one that was asked for is broken."""

    exit_code: ClassVar[int] = 7
    default_kind: ClassVar[str] = "plugin"


def warn(sentence: str) -> None:
    """Warn once, as Python does; the command line prints it on stderr."""
    warnings.warn(sentence, PluginWarning, stacklevel=2)
