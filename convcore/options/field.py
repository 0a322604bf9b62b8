"""A field of a table of options: how it is given on the command line, and its help text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import attrs

from convcore.noun import Noun

_KEY, _BY_PLACE = "option", "by place"


@attrs.frozen(eq=False, repr=False)
class Option(Noun):
    """How a field is given on the command line; its default there is the field's.

    Attributes:
        help: What it means.
        spellings: As it is typed; none stands for the keyword's own name, ``--like-this``.
        metavar: What its value is called.
        kind: Type of its value.
        choices: Values it may have; empty allows any.
        least: Smallest number it may be.
        above: Number that it has to exceed.
        repeats: Whether it may be given several times.
        leads: Whether it is listed before those that several commands share.
    """

    help: str
    spellings: tuple[str, ...] = ()
    metavar: str | None = None
    kind: type = str
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    repeats: bool = False
    leads: bool = False


def option(default: Any, help: str, *spellings: str, **more: Any) -> Any:
    """Return a field; the further arguments are those of ``Option``."""
    return attrs.field(default=default, metadata=given(help, *spellings, **more))


def given(help: str, *spellings: str, **more: Any) -> dict[str, Option]:
    """Return the metadata of a field that needs more than ``option`` says, such as a converter."""
    return {_KEY: Option(help, spellings, **more)}


def argument(help: str, metavar: str) -> dict[str, Any]:
    """Return the metadata of a field that is given by its place alone."""
    return {_KEY: Option(help, metavar=metavar, kind=Path), _BY_PLACE: True}


class Described(NamedTuple):
    """One field of a table.

    Attributes:
        name: Its name in Python, and of the value on the command line.
        default: What it is where nobody gives it; ``attrs.NOTHING`` where somebody has to.
        option: How it is given.
        by_place: Whether it is an argument, given by its place alone.
    """

    name: str
    default: Any
    option: Option
    by_place: bool


def described(table: type) -> list[Described]:
    """Return every field of a table, in the order of help texts."""
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(table)
    found = [
        Described(field.alias or field.name, field.default, said, _BY_PLACE in field.metadata)
        for field in fields
        if (said := field.metadata.get(_KEY)) is not None
    ]
    return sorted(found, key=lambda each: (not each.by_place, not each.option.leads))
