"""Entry points of the installed distributions, read from the folders they are installed in.

``importlib.metadata`` says the same. Importing it, with ``email``, ``zipfile`` and ``csv``, takes
longer than loading all built-in plugins, so that it is asked only where something else than
folders is to be searched. Source of the rules: the Python Packaging User Guide, "Entry points
specification" and "Recording installed projects", and CPython's Lib/importlib/metadata.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from functools import reduce
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

_REFERENCE = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?")
_METADATA = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}


class Entry(NamedTuple):
    """One line of a distribution's entry points.

    Attributes:
        name: What stands before the ``=``.
        value: What it refers to: ``package.module`` or ``package.module:object``.
        distribution: Name of the distribution that brings it.
        version: Version of that distribution; empty where it does not say.
    """

    name: str
    value: str
    distribution: str
    version: str

    @property
    def refers(self) -> bool:
        """Whether the value has the form of a reference."""
        return _REFERENCE.fullmatch(self.value) is not None

    def load(self) -> Any:
        """Import what it refers to; raises whatever the import raises."""
        module, _, names = self.value.partition("[")[0].partition(":")
        found = importlib.import_module(module.strip())
        return reduce(getattr, filter(None, names.strip().split(".")), found)


def installed(group: str) -> list[Entry]:
    """Find the entry points of a group, sorted; of two distributions of one name the first counts.

    A distribution that is found twice on one path, as editable ones can be, is one.
    """
    folders = [Path(name or ".") for name in sys.path]
    only_folders = not any(map(_searches, sys.meta_path)) and not any(map(_is_archive, folders))
    found = _listed(group, folders) if only_folders else _asked(group)
    once = {(entry.name, entry.value): entry for entry in reversed([*found])}
    return [once[key] for key in sorted(once)]


def _searches(finder: object) -> bool:
    return finder is not PathFinder and hasattr(finder, "find_distributions")


def _is_archive(folder: Path) -> bool:
    return folder.suffix == ".egg" or folder.is_file()


def _asked(group: str) -> Iterator[Entry]:
    from importlib.metadata import entry_points

    for entry in entry_points(group=group):
        facts: Any = {}
        # A distribution whose metadata is missing or damaged raises whatever its parser met.
        with contextlib.suppress(Exception):
            facts = entry.dist.metadata if entry.dist else {}
        yield _entry(entry.name, entry.value, facts)


def _listed(group: str, folders: Iterable[Path]) -> Iterator[Entry]:
    seen = set()
    for child in (child for folder in folders for child in _children(folder)):
        kind = child.suffix.lower()
        name = re.sub(r"[-_.]+", "_", child.stem.partition("-")[0]).lower()
        if kind not in _METADATA or name in seen:
            continue
        seen.add(name)
        lines = _section(_text(child / "entry_points.txt"), group)
        facts = _headers(_text(child / _METADATA[kind])) if lines else {}
        yield from (_entry(name, value, facts) for name, value in lines)


def _entry(name: str, value: str, facts: Any) -> Entry:
    return Entry(name, value, facts.get("Name") or "unknown", facts.get("Version") or "")


def _children(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [child for child in folder.iterdir() if child.name.lower().endswith("-info")]
    return []


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _section(text: str, group: str) -> list[tuple[str, str]]:
    found, here = [], False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            here = line[1:-1] == group
        elif here and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.append((name.strip(), value.strip()))
    return found


def _headers(text: str) -> dict[str, str]:
    """The headers of a message, whose body (a whole README) is not looked at."""
    head = re.split(r"\n\s*\n", text, maxsplit=1)[0]
    pairs = (line.partition(":") for line in reversed(head.splitlines()))
    return {name.strip(): value.strip() for name, _, value in pairs}
