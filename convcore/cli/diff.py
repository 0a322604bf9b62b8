"""``convcore diff``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from convcore.cli import options
from convcore.cli.commands import Invocation
from convcore.options import DiffOptions


@click.command("diff")
@options.taking(DiffOptions)
@options.as_json
@click.pass_obj
def command(invocation: Invocation, /, *, as_json: bool, **given: Any) -> None:
    """Compare two checkpoints or output folders: same, changed, missing, added."""
    from convcore.cli import show

    result = invocation.session().diff(**given)
    if as_json:
        show.json_document(result)
        return
    counts = ", ".join(f"{len(result[k])} {k}" for k in ("same", "changed", "missing", "added"))
    click.echo(f"{'identical' if result['identical'] else 'different'}: {counts}")
    for which, wrappers in result["wrappers"].items():
        show.lines(f"Wrappers taken off the {which}", wrappers)
    renamed = [f"{name} is {before}" for name, before in result["renamed"].items()]
    show.lines("Renamed in the first", renamed)
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
