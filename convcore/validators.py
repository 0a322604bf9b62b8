"""What a declaration may hold, checked where it is made, so that a fault shows at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

SIZE = re.compile(r"(?:(\d+)\*)?([A-Za-z_][A-Za-z_0-9]*)(?://(\d+))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
FILE = re.compile(r"(?!\.{1,2}\Z)[^/\\\0]{1,255}", re.DOTALL)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")

Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def name(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Take what can be typed as an option's value: letters, digits, ``_``, ``-`` and ``.``."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no {field.name} for a {type(owner).__name__}: use letters, "
                         "digits, '_', '-' and '.'")  # fmt: skip


def stem(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Take what can be a file's name, without any folder."""
    if value is not None and (not isinstance(value, str) or not _STEM.fullmatch(value)):
        raise ValueError(f"{value!r} is no {field.name} for a {type(owner).__name__}, because it "
                         "becomes a file name: use letters, digits, '_', '-' and '.'")  # fmt: skip


def prefix(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Take whole parts of a dotted name: nothing, or what ends with a dot."""
    if not isinstance(value, str) or (value and not value.endswith(".")):
        raise ValueError(f"{field.name} of a {type(owner).__name__} is {value!r}: it takes whole "
                         "parts of a name, and ends with a dot")  # fmt: skip


def function(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Take something that can be called, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{field.name} of a {type(owner).__name__} is a {type(value).__name__}, "
                        "not a function")  # fmt: skip


def series_of(kind: Callable[[], type[Any]]) -> Check:
    """Return a check that every item of a series is of one type (given late: it may follow)."""

    def check(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
        for item in value:
            if not isinstance(item, kind()):
                raise TypeError(f"{field.name} of a {type(owner).__name__} hold a "
                                f"{type(item).__name__}, not only {kind().__name__}")  # fmt: skip

    return check


def word(*known: str) -> Check:
    """Return a check that the value is one of a few words."""

    def check(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value not in known:
            raise ValueError(f"{field.name} of a {type(owner).__name__} is {value!r}, not one of "
                             f"{', '.join(known)}")  # fmt: skip

    return check


def shapes(owner: Any, field: attrs.Attribute[Any], value: Mapping[str, Any]) -> None:
    """Take shapes whose sizes are numbers, or names such as ``D``, ``3*D`` and ``D//2``."""
    for key, shape in value.items():
        for size in shape:
            if not isinstance(size, int) and not (isinstance(size, str) and SIZE.fullmatch(size)):
                raise ValueError(f"{size!r} in the shape of {key} is no size: write it as D, 3*D "
                                 "or D//2")  # fmt: skip


def filled(owner: Any, field: attrs.Attribute[Any], value: str | None) -> None:
    """Take any text but the empty one, or None."""
    if value == "":
        raise ValueError(f"{field.name} is empty")


def sha256(owner: Any, field: attrs.Attribute[Any], value: str | None) -> None:
    """Take a SHA-256 in small hexadecimal digits, or None."""
    if value is not None and not _SHA256.fullmatch(value):
        raise ValueError(f"{field.name} is {value!r:.60}, no SHA-256")


def file_name(owner: Any, field: attrs.Attribute[Any], value: str | None) -> None:
    """Take the name of a file in the folder itself, or None."""
    if value is not None and not FILE.fullmatch(value):
        raise ValueError(f"{field.name} is {value!r:.60}, no name of a file in the folder")


def file_names(owner: Any, field: attrs.Attribute[Any], value: Iterable[str]) -> None:
    """Take names of files in the folder itself."""
    for each in value:
        file_name(owner, field, each)
