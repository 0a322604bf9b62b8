"""``convcore inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from convcore.cli import options
from convcore.cli.commands import Session
from convcore.errors import UsageError


@click.command("inspect")
@click.argument("checkpoint", type=options.PATH)
@options.reading
@click.option("--tensors", is_flag=True, help="List every tensor.")
@click.option("--deep", is_flag=True, help="Read every byte: CRCs and bounds of all tensors.")
@click.option("--suggest-layout", is_flag=True, help="Print a TOML draft of a layout.")
@options.as_json
@click.pass_obj
def command(session: Session, /, checkpoint: Path, as_json: bool, **given: Any) -> None:
    """Say what CHECKPOINT is; nothing in it is run and torch is not needed."""
    from convcore.cli import show
    from convcore.engine.inspection import inspect
    from convcore.host.registry import load_registry

    registry = load_registry(session.disabled, options.layouts_of(given["layout_file"]))
    show.broken_plugins(registry)
    config = options.pairs(given["config"], "--config")
    if given["suggest_layout"]:
        idle = ("layout", "layout_file", "tensors", "deep")
        for option in (f"--{name.replace('_', '-')}" for name in idle if given[name]):
            raise UsageError(
                f"{option} would change nothing with --suggest-layout", remedy="give one of them"
            )
        from convcore.layouts.layout_file.draft import suggest
        from convcore.sources.reading import read_checkpoint

        found = read_checkpoint(
            checkpoint,
            registry,
            source=given["source"],
            key=given["key"],
            config=config,
            allow_opaque_calls=given["allow_opaque_calls"],
        )
        if as_json:
            show.json_document({"layout_file": suggest(found)})
        else:
            click.echo(suggest(found), nl=False)
        return
    result = inspect(
        checkpoint,
        registry,
        layout=given["layout"],
        source=given["source"],
        key=given["key"],
        config=config,
        allow_opaque_calls=given["allow_opaque_calls"],
        tensors=given["tensors"],
        deep=given["deep"],
    )
    if as_json:
        show.json_document(result)
    else:
        show.inspection(checkpoint, result)
