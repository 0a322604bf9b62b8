"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from convcore.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

# click's own existence check would exit before --json could be honoured; reading checks it.
PATH = click.Path(path_type=Path)


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
    session = ctx.obj
    return given or bool(session and session.as_json)


def reading(command: Command) -> Command:
    """Add the options that say how a checkpoint is read and recognised."""
    for option in reversed(
        (
            click.option("--layout", help="Take this layout instead of recognising one."),
            click.option("--source", help="Take this source instead of recognising one."),
            click.option("--key", metavar="PATH", help="Dotted path of the state dict to take."),
            click.option(
                "--config", multiple=True, metavar="KEY=VALUE", help="A layout's option. Repeats."
            ),
            click.option(
                "--layout-file", type=PATH, metavar="FILE.toml", help="A layout described in TOML."
            ),
            click.option(
                "--allow-opaque-calls",
                is_flag=True,
                help="Read the tensors of a file that names code; nothing of it is run.",
            ),
        )
    ):
        command = option(command)
    return command


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """Split ``KEY=VALUE`` texts.

    Raises:
        UsageError: There is no ``=``, or a key stands twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or key in found:
            problem = "is given twice" if key in found else "has no value"
            raise UsageError(f"{option} {text} {problem}", remedy=f"write {option} NAME=VALUE once")
        found[key] = value
    return found


def layouts_of(layout_file: Path | None) -> list[Any]:
    """Read the layout of ``--layout-file``, if one was given."""
    if layout_file is None:
        return []
    from convcore.layouts.layout_file.reading import read_layout

    return [read_layout(layout_file)]
