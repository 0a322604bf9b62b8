"""``convcore inspect``."""

from __future__ import annotations

from typing import Any

import click

from convcore.cli import options
from convcore.cli.commands import Invocation
from convcore.errors import UsageError
from convcore.options import InspectOptions, OpenOptions, described


@click.command("inspect")
@options.taking(InspectOptions)
@click.option("--suggest-layout", is_flag=True, help="Print a TOML draft of a layout.")
@options.as_json
@click.pass_obj
def command(
    invocation: Invocation, /, *, suggest_layout: bool, as_json: bool, **given: Any
) -> None:
    """Say what CHECKPOINT is; nothing in it is run and torch is not needed."""
    from convcore.cli import show

    if suggest_layout:
        draft = _draft(invocation, given)
        if as_json:
            show.json_document({"layout_file": draft})
        else:
            click.echo(draft, nl=False)
        return
    found = invocation.session().inspect(**given)
    if as_json:
        show.json_document(found.document)
    else:
        show.inspection(given["path"], found.document)


def _draft(invocation: Invocation, given: dict[str, Any]) -> str:
    """A TOML draft of a layout for what was read; options that change nothing are refused."""
    from convcore.layouts.layout_file.draft import suggest

    used = {each.name for each in described(OpenOptions)}
    for name, value in given.items():
        if value and name not in used:
            raise UsageError(
                f"--{name.replace('_', '-')} would change nothing with --suggest-layout",
                remedy="give one of them",
            )
    checkpoint = invocation.session().open_checkpoint(**{name: given[name] for name in used})
    return suggest(checkpoint)
