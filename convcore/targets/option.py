"""What a target can be told: options of its own, read from text as it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from convcore import validators as legal
from convcore.errors import UsageError
from convcore.layouts.settings import Settler
from convcore.noun import Noun


@attrs.frozen(eq=False, repr=False)
class TargetOption(Noun):
    """What a target can be told, as ``--config TARGET.NAME=VALUE``; ``NAME`` alone does too.

    Attributes:
        name: Of the option; ``opset``, ``atol``, ``rtol``, ``all_components`` and ``allow_nan`` are
            what the flags of these names set.
        summary: One line of help.
        read: Makes its value of the text; raises ValueError, saying what is needed.
        default: Its value where nobody gave one.
    """

    name: str = attrs.field(validator=legal.name)
    summary: str
    read: Callable[[str], Any] = attrs.field(default=str, eq=False, validator=legal.function)
    default: Any = None


def settled(
    target: str,
    options: Iterable[TargetOption],
    config: Mapping[str, str],
    flags: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the value of each option, see ``Target.settled``."""
    found = {}
    for option in options:
        given = [name for name in (f"{target}.{option.name}", option.name) if name in config]
        if given and option.name in flags:
            raise UsageError(
                f"{option.name} was given twice, as a flag and as --config {given[0]}",
                remedy="give it once",
            )
        found[option.name] = flags.get(option.name, option.default)
        for name in given[:1]:
            found[option.name] = Settler({}, config).from_option(name, option.read)
    return found
