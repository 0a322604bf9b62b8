"""The public Python interface as text: one line per name, with its signature.

At a release: ``python -m tests.public_surface > tests/data/public_surface.txt``.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

MODULES = (
    "convcore",
    "convcore.host.hookspecs",
    "convcore.layouts.settings",
    "convcore.testing",
    "convcore.sources",
    "convcore.targets.weights",
)


def surface() -> list[str]:
    """Return every public name, sorted."""
    return sorted({line for name in MODULES for line in of_module(importlib.import_module(name))})


def of_module(module: ModuleType) -> Iterator[str]:
    for name in getattr(module, "__all__", None) or vars(module):
        value = getattr(module, name)
        at_home = hasattr(module, "__all__") or getattr(value, "__module__", "") == module.__name__
        if name.startswith("_") or isinstance(value, ModuleType) or not at_home:
            continue
        where = f"{module.__name__}.{name}"
        if inspect.isclass(value):
            yield from of_class(where, value)
        elif callable(value):
            yield f"{where}{signature(value)}"


def of_class(where: str, kind: type) -> Iterator[str]:
    yield f"{where}{signature(kind)}"
    for name, value in inspect.getmembers(kind):
        own = any(name in vars(each) for each in kind.__mro__ if each.__module__[:8] == "convcore")
        if name.startswith(("_", "test_")) or not own:
            continue
        called = inspect.isfunction(value) or inspect.ismethod(value)
        yield f"{where}.{name}{signature(value) if called else ''}"


def signature(value: object) -> str:
    try:
        # A default that is a function shows where it lies in memory, which is no one's business.
        return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(value)).replace("'", ""))
    except (TypeError, ValueError):
        return ""


if __name__ == "__main__":
    print(*surface(), sep="\n")
