"""Reading a TOML table strictly: every fault is found and said at once, unknown keys by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from convcore.errors import UsageError
from convcore.names import nearest

# A reader takes a value and returns it converted, or raises ValueError saying what belongs there.
Reader = Callable[[Any], Any]
_FILE = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,120}")


class Faults:
    """Collects what is wrong with one file.

    Attributes:
        path: The file.
        found: One sentence per fault.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[str] = []

    def add(self, where: str, fault: str) -> None:
        """Note one fault of the table or key called ``where``."""
        self.found.append(f"{where}: {fault}")

    def table(
        self, given: Any, where: str, readers: Mapping[str, Reader], required: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Read a table's entries; faults are noted and their entries left out.

        Args:
            given: What stands there.
            where: Its name, for the faults.
            readers: Every key the table may have.
            required: Keys it must have.
        """
        if not isinstance(given, dict):
            self.add(where, f"a table belongs here, not {_kind(given)}")
            return {}
        read = {}
        for key, value in given.items():
            if key not in readers:
                known = nearest(key, readers) or (f"known: {', '.join(readers)}",)
                self.add(where, f"unknown key {key!r}; {known[0]}")
                continue
            try:
                read[key] = readers[key](value)
            except ValueError as error:
                self.add(f"{where}.{key}" if where else key, str(error))
        for key in required:
            if key not in given:
                self.add(where or "the file", f"{key} is missing")
        return read

    def settle(self) -> None:
        """Raise what was found.

        Raises:
            UsageError: Something was.
        """
        if self.found:
            raise UsageError(
                f"{self.path} describes no layout: {self.found[0]}",
                seen=self.found,
                remedy="correct the file; plugins/README.md shows a whole one",
            )


def text(value: Any) -> str:
    """Read a text."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"a text belongs here, not {_kind(value)}")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Read a text, or a list of texts."""
    if isinstance(value, str):
        return (text(value),)
    if not isinstance(value, list) or not value:
        raise ValueError(f"a text or a list of texts belongs here, not {_kind(value)}")
    return tuple(text(item) for item in value)


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"true or false belongs here, not {_kind(value)}")
    return value


def scalar(value: Any) -> str | int | float | bool:
    """Read a text, a number, or true or false."""
    if not isinstance(value, str | int | float) or value == "":
        raise ValueError(f"a text, a number, or true or false belongs here, not {_kind(value)}")
    return value


def scalars(value: Any) -> tuple[str | int | float | bool, ...]:
    """Read a list of texts, numbers, or true and false."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"a list of texts or numbers belongs here, not {_kind(value)}")
    return tuple(scalar(item) for item in value)


def interval(value: Any) -> tuple[float, float]:
    """Read two numbers, the smaller first."""
    legal = (
        isinstance(value, list) and len(value) == 2 and all(type(n) in (int, float) for n in value)
    )
    if not legal or not value[0] < value[1]:
        raise ValueError("two numbers belong here, the smaller first")
    return float(value[0]), float(value[1])


def shape(value: Any) -> tuple[int | str, ...]:
    """Read a list of sizes: whole numbers, or names."""
    legal = isinstance(value, list) and all(
        (isinstance(size, int) and not isinstance(size, bool) and size >= 0)
        or (isinstance(size, str) and size)
        for size in value
    )
    if not legal:
        raise ValueError("a list of sizes belongs here, such as ['batch', 3, 64]")
    return tuple(value)


def file_name(value: Any) -> str:
    """Read a plain file name, without a folder."""
    name = text(value)
    if not _FILE.fullmatch(name):
        raise ValueError(f"{name!r} is no plain file name (letters, digits, '_', '-' and '.')")
    return name


def one_of(*legal: str) -> Reader:
    """Return a reader of one of a few words."""

    def read(value: Any) -> str:
        if value not in legal:
            raise ValueError(f"{value!r} is none of {', '.join(legal)}")
        return str(value)

    return read


def anything(value: Any) -> Any:
    """Take any value as it stands."""
    return value


def _kind(value: Any) -> str:
    names = {dict: "a table", list: "a list", str: "a text", bool: "true or false"}
    return "an empty one" if value in ("", []) else names.get(type(value), f"{value!r}")
