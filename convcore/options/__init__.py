"""Every option of the commands that read and write models: one field each, with its help text.

A field gives the option of the command line, the keyword of ``convcore.convert`` and the other
verbs, the value in a request, and its line in ``docs/options.md``. To add an option is to add a
field to a table, and to use it where it matters.

Making a table takes a while, so it is imported when it is asked for: a command makes its own alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convcore.options.comparing import DiffOptions
    from convcore.options.field import Described, Option, described, option
    from convcore.options.looking import InspectOptions, OpenOptions
    from convcore.options.tables import TABLES
    from convcore.options.timing import BenchOptions
    from convcore.options.values import DEFAULT_TARGET, Backend, VerifyLevel, Weights
    from convcore.options.verifying import VerifyOptions
    from convcore.options.writing import ConvertOptions

_HOMES = {
    "BenchOptions": "timing",
    "Backend": "values",
    "ConvertOptions": "writing",
    "DEFAULT_TARGET": "values",
    "Described": "field",
    "DiffOptions": "comparing",
    "InspectOptions": "looking",
    "OpenOptions": "looking",
    "Option": "field",
    "TABLES": "tables",
    "VerifyLevel": "values",
    "VerifyOptions": "verifying",
    "Weights": "values",
    "described": "field",
    "option": "field",
}

__all__ = [
    "DEFAULT_TARGET",
    "TABLES",
    "Backend",
    "BenchOptions",
    "ConvertOptions",
    "Described",
    "DiffOptions",
    "InspectOptions",
    "OpenOptions",
    "Option",
    "VerifyLevel",
    "VerifyOptions",
    "Weights",
    "described",
    "option",
]

if not TYPE_CHECKING:  # else a misspelt name would pass for Any

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
