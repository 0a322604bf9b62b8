"""``convcore plugins`` and ``convcore plugins new``."""

from __future__ import annotations

import click

from convcore.cli import options, plugins_new
from convcore.cli.commands import Invocation


@click.group("plugins", invoke_without_command=True)
@options.as_json
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List what is installed, from where, and what is broken and why."""
    if ctx.invoked_subcommand is not None:
        return
    from convcore.cli import show

    invocation: Invocation = ctx.obj
    registry = invocation.session().registry()
    if not as_json:
        show.plugins(registry.plugins, registry.conflicts)
        return
    show.json_document(
        {
            "plugins": [
                {
                    "name": plugin.name,
                    "value": plugin.value,
                    "distribution": plugin.distribution,
                    "version": plugin.version,
                    "disabled": plugin.disabled,
                    "error": plugin.error,
                    "warnings": list(plugin.warnings),
                    **{kind: list(names) for kind, names in plugin.declared.items()},
                }
                for plugin in registry.plugins
            ],
            "conflicts": [
                {"kind": kind[:-1], "name": name, "plugins": list(both)}
                for (kind, name), both in registry.conflicts.items()
            ],
        }
    )


command.add_command(plugins_new.command)
