"""Names: of keys, what they share and what is near; of files, what is allowed."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from convcore.errors import UsageError

_LEGAL = re.compile(r"[A-Za-z0-9_-]{1,60}")


def shared_prefix(keys: Iterable[str]) -> str:
    """Return the longest dotted prefix, dot included, that all keys share; '' for none."""
    names = list(keys)
    if not names:
        return ""
    # The smallest and the largest key share exactly what all of them share.
    first, last = min(names), max(names)
    length = 0
    for left, right in zip(first, last, strict=False):
        if left != right:
            break
        length += 1
    return first[: first.rfind(".", 0, length) + 1]


def counted(number: int, noun: str) -> str:
    """Return ``1 tensor``, ``1,024 tensors``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def few(names: Sequence[str], most: int = 4) -> str:
    """Return the first names, and an ellipsis where there are more."""
    return f"{', '.join(names[:most])}{', …' if len(names) > most else ''}"


def nearest(name: str, known: Iterable[str], count: int = 1) -> tuple[str, ...]:
    """Say which known names look like ``name``: ``('nearest known name: …',)`` or nothing."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=count, cutoff=0.6)
    return (f"nearest known name: {', '.join(close)}",) if close else ()


def assigner(patterns: Sequence[tuple[str, str]]) -> Callable[[str], str | None]:
    """Return a function from a key to the owner whose longest pattern fits it.

    Args:
        patterns: ``(pattern, owner)``; a pattern is a prefix ending in a dot, one whole key, or
            holds ``*`` for any text.
    """
    exact = {pattern: owner for pattern, owner in patterns if pattern[-1:] not in (".", "*")}
    prefixes = [(p, owner) for p, owner in patterns if p.endswith(".") and "*" not in p]
    globs = [(p, owner) for p, owner in patterns if "*" in p]
    by_length = sorted(prefixes, key=lambda pair: -len(pair[0]))
    # One test in C rules out most keys of a foreign model before any loop starts.
    any_prefix = tuple(prefix for prefix, _ in by_length)
    # A pattern comes from a layout, never from a checkpoint, so compiling it is safe.
    compiled = [(re.compile(fnmatch.translate(p.replace("[", "[[]"))), len(p), o) for p, o in globs]

    def assign(key: str) -> str | None:
        if key in exact:
            return exact[key]
        best: str | None = None
        length = -1
        if key.startswith(any_prefix):
            best, length = next((o, len(p)) for p, o in by_length if key.startswith(p))
        for pattern, size, owner in compiled:
            if size > length and pattern.match(key):
                best, length = owner, size
        return best

    return assign


def legal_component(name: str) -> str:
    """Return a component name given by the user; it becomes a file name.

    Raises:
        UsageError: It holds anything but letters, digits, ``_`` and ``-``, or is too long.
    """
    if not _LEGAL.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a component's name, because it becomes a file name",
            remedy="use 1 to 60 letters, digits, underscores or hyphens",
        )
    return name


def collisions(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return pairs of file names that some file system takes for one (case, NFC or NFD)."""
    seen: dict[str, str] = {}
    pairs = []
    for path in paths:
        folded = unicodedata.normalize("NFC", path).casefold()
        if folded in seen:
            pairs.append((seen[folded], path))
        seen[folded] = path
    return tuple(pairs)
