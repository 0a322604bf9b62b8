"""``convcore diff``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from convcore.cli import options
from convcore.cli.commands import Session


@click.command("diff")
@click.argument("first", metavar="A", type=options.PATH)
@click.argument("second", metavar="B", type=options.PATH)
@options.as_json
@click.pass_obj
def command(session: Session, first: Path, second: Path, as_json: bool) -> None:
    """Compare two checkpoints or output folders: same, changed, missing, added."""
    from convcore.cli import show
    from convcore.engine.difference import diff
    from convcore.host.registry import load_registry

    result = diff(first, second, load_registry(session.disabled))
    if as_json:
        show.json_document(result)
        return
    counts = ", ".join(f"{len(result[k])} {k}" for k in ("same", "changed", "missing", "added"))
    click.echo(f"{'identical' if result['identical'] else 'different'}: {counts}")
    for which, wrappers in result["wrappers"].items():
        show.lines(f"Wrappers taken off the {which}", wrappers)
    if result["changed"]:
        rows = [(item["name"], *_how(item)) for item in result["changed"]]
        show.table("Changed", ("tensor", "largest difference", "elements changed"), rows)
    show.lines("Missing from the second", result["missing"])
    show.lines("Added in the second", result["added"])


def _how(item: Mapping[str, Any]) -> tuple[object, object]:
    """The largest difference and how many elements; of another type or shape, both of these."""
    if "dtype" not in item:
        return item.get("max_abs"), item.get("elements_changed", item.get("unsupported"))
    one, two = (f"{d} {s}" for d, s in zip(item["dtype"], item["shape"], strict=True))
    return f"{one} against {two}", None
