"""``convcore plugins new``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from convcore.cli import options


@click.command("new")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(["layout", "source", "target"]), required=True, help="What it is."
)
@click.option("-o", "--output", type=options.PATH, help="Folder to write (./convcore-NAME).")
@options.as_json
def command(name: str, kind: Any, output: Path | None, as_json: bool) -> None:
    """Write a project for a plugin NAME: it works, and its tests pass, as it stands."""
    from convcore.cli import show
    from convcore.host.new_plugin import write_project

    folder, files = write_project(name, kind, output)
    names = [str(path.relative_to(folder)) for path in files]
    if as_json:
        show.json_document({"folder": str(folder), "files": names})
        return
    click.echo(f"{folder} holds {', '.join(names)}")
    click.echo(f"next: cd {folder} && pip install -e '.[test]' && pytest")
