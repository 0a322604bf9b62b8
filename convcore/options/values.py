"""What an option's value may be, and what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from convcore.errors import UsageError

AnyPath = str | os.PathLike[str]
VerifyLevel = Literal["fast", "full", "none"]
Weights = Literal["raw", "averaged", "auto"]
Backend = Literal["torch", "torch-compile", "onnxruntime"]
DEFAULT_TARGET = "pth"  # what is written unless somebody names another


def as_path(given: AnyPath) -> Path:
    """Return a path; what can be none is told when it is opened."""
    return given if isinstance(given, Path) else Path(given)


def maybe_path(given: AnyPath | None) -> Path | None:
    """Return a path, or None where none is given."""
    return None if given is None else as_path(given)


def names(given: str | Iterable[str]) -> tuple[str, ...]:
    """Return texts, one or several being given."""
    return (given,) if isinstance(given, str) else tuple(given)


def config_of(given: Mapping[str, str] | Iterable[str] | None) -> Mapping[str, str]:
    """Return name to value, as a mapping or as it is typed being given."""
    return dict(given) if isinstance(given, Mapping) else pairs(given or (), "--config")


def parts_of(given: str | Iterable[str] | Mapping[str, str]) -> Mapping[str, str | None]:
    """Name to key prefix, or to None where a name alone is given."""
    if isinstance(given, Mapping):
        return dict(given)
    texts = names(given)
    alone = dict.fromkeys(text for text in texts if "=" not in text)
    splits = pairs((text for text in texts if "=" in text), "--component")
    if alone and splits:
        raise UsageError(
            "--component NAME and --component NAME=KEY_PREFIX exclude each other",
            remedy="select components of a known layout, or split by prefixes",
        )
    return splits or alone


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """Split ``KEY=VALUE`` texts.

    Raises:
        UsageError: There is no ``=``, or a key stands twice.
    """
    found: dict[str, str] = {}
    for text in (texts,) if isinstance(texts, str) else texts:
        key, equals, value = text.partition("=")
        if not equals or not key or key in found:
            problem = "is given twice" if key in found else "has no value"
            raise UsageError(f"{option} {text} {problem}", remedy=f"write {option} NAME=VALUE once")
        found[key] = value
    return found
