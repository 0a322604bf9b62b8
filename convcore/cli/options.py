"""The table of options as click's, and options that concern the command line alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from convcore.options import Described, Option, described

Command = TypeVar("Command", bound=Callable[..., Any])

# click's own existence check would exit before --json could be honoured; reading checks it.
PATH = click.Path(path_type=Path)


def taking(table: type) -> Callable[[Command], Command]:
    """Add all options of a table; the command is given each under its name in Python."""

    def add(command: Command) -> Command:
        for each in reversed(described(table)):
            command = _parameter(each)(command)
        return command

    return add


def _parameter(each: Described) -> Callable[[Command], Command]:
    name, default, said = each.name, each.default, each.option
    if each.by_place:
        return click.argument(name, metavar=said.metavar, type=PATH)
    typed = said.spellings or (f"--{name.replace('_', '-')}",)
    if default is False:
        return click.option(*typed, name, is_flag=True, help=said.help)
    required = default is attrs.NOTHING
    empty = required or default in (None, ())
    return click.option(
        *typed,
        name,
        type=_type(said),
        default=None if empty else default,
        show_default=not empty,
        required=required,
        multiple=said.repeats,
        metavar=said.metavar,
        help=said.help,
    )


def _type(said: Option) -> Any:
    if said.choices:
        return click.Choice(said.choices)
    if said.least is not None:
        return click.IntRange(min=int(said.least))
    if said.above is not None:
        return click.FloatRange(min=said.above, min_open=True)
    return PATH if said.kind is Path else said.kind


def as_json(command: Command) -> Command:
    """Add ``--json``, which holds where it stands before the command, too."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        callback=_or_before_the_command,
        help="Print one JSON document, for errors too.",
    )(command)


def _or_before_the_command(ctx: click.Context, _: click.Parameter, given: bool) -> bool:
    invocation = ctx.obj
    return given or bool(invocation and invocation.as_json)
