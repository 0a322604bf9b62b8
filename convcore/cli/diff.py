"""``convcore diff``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from convcore.cli import options
from convcore.cli.commands import Invocation
from convcore.names import few
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
    if given["align"]:
        _alignment(result)
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


def _alignment(result: Mapping[str, Any]) -> None:
    """The rules that fit one file's keys to the other's, and what is left of both."""
    from convcore.cli import show
    from convcore.engine.alignment import summary

    click.echo(summary(result))
    show.lines("Said", result["notes"])
    if result["rules"]:
        rows = [(rule["old"], rule["new"], rule["tensors"]) for rule in result["rules"]]
        show.table("Renamings", ("old", "new", "tensors"), rows)
    if result["weight_norm"]:
        show.lines("And", ["weight-norm: in the spelling of the second"])
    doubtful = [f"{p['from']} to {p['to']}" for p in result["pairs"] if not p["certain"]]
    show.lines("Not certain: shape and order do not tell these from others", doubtful)
    for side, title in (("second", "Missing"), ("first", "Left over")):
        show.lines(
            f"{title} in the first" if side == "second" else title, _left(result["unmatched"][side])
        )
    if result["written"]:
        click.echo(f"\nwritten to {result['written']}, for --rename")


def _left(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys without a partner, those with one reason in one line."""
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_reason.setdefault(row["why"], []).append(row)
    said = []
    for why, those in by_reason.items():
        names = few([f"{row['name']} {row['shape'] or ''}".rstrip() for row in those], 3)
        near = [n for row in those[:1] for n in row["nearest"] if n["name"] not in why]
        told = "; nearest: " + few([f"{n['name']} {n['shape']}" for n in near]) if near else ""
        said.append(f"{names}: {why}{told}")
    return said
