"""Results as people read them (rich, imported late) and as scripts do (one JSON document)."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convcore.escape import printable
from convcore.report.view import Table, drawn, plain

if TYPE_CHECKING:
    from convcore.host.entries import Plugin
    from convcore.targets.report import Report

_PROGRESS_AFTER_SECONDS = 1.0
_LONG = 60


def json_document(content: Any) -> None:
    """Print one JSON document; strings stay as they are, controls are escaped by JSON itself."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=True))


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Give a callback that draws one line on a terminal once work takes longer than a second."""
    started = time.monotonic()
    drawn = False

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal drawn
        if quiet or not sys.stderr.isatty():
            return
        if time.monotonic() - started > _PROGRESS_AFTER_SECONDS:
            share = f"{done / total:4.0%}" if total else ""
            sys.stderr.write(f"\r\x1b[K{stage} {share}")
            sys.stderr.flush()
            drawn = True

    try:
        yield tell
    finally:
        if drawn:
            sys.stderr.write("\r\x1b[K")


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table."""
    view(Table(title, headings, rows))


def view(table: Table) -> None:
    """Print a table: drawn by rich on a terminal, in plain aligned columns where it is piped."""
    click.echo()
    if sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False).print(drawn(table))
    else:
        click.echo(plain(table))
    lines("Remarks", table.notes)


def lines(title: str, sentences: Sequence[str]) -> None:
    """Print a heading and one sentence a line."""
    if sentences:
        click.echo(f"\n{title}")
        for sentence in sentences:
            click.echo(f"  {printable(sentence, 300)}")


def inspection(path: Path, result: Mapping[str, Any]) -> None:
    """Print what ``inspect`` found."""
    if "runs" in result:
        _runs(path, result["runs"])
        return
    layout = result["layout"] or "unknown model"
    total = f"{result['tensor_count']:,} tensors, {result['tensor_bytes']:,} bytes"
    head = f"{path.name}: {layout} ({result['source']}, {result['format']}; {total})"
    click.echo(printable(head))
    lines("Evidence", result["evidence"])
    columns = ("component", "role", "tensors", "parameters", "bytes")
    keys = ("name", "role", "tensor_count", "parameter_count", "bytes")
    table("Components", columns, [[part[key] for key in keys] for part in result["components"]])
    if result["settings"]:
        settings = [
            (name, _short(setting["value"]), setting["origin"])
            for name, setting in result["settings"].items()
        ]
        table("Settings", ("name", "value", "origin"), settings)
    for title in ("hyper_parameters", "sidecars", "metadata"):
        pairs = [f"{key}: {_short(value)}" for key, value in result[title].items()]
        lines(title.replace("_", "-").capitalize(), pairs)
    lines("Classes met and not imported", result["opaque"])
    if "tensors" in result:
        names = ("name", "component", "dtype", "shape", "bytes", "unsupported")
        table("Tensors", names, [[tensor[key] for key in names] for tensor in result["tensors"]])


def _runs(path: Path, runs: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for run in runs for key in run))
    rows = [[_short(run.get(column, "")) for column in columns] for run in runs]
    table(f"{len(runs)} runs in {path}", columns, rows)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}\N{HORIZONTAL ELLIPSIS}"


def report_as_dict(report: Report) -> dict[str, Any]:
    """A report as ``convert --json`` prints it: the manifest, and where it lies."""
    if report.dry_run:
        return {"output": str(report.output), "dry_run": True, "files": planned(report)}
    from convcore.manifest.writing import as_json

    written = as_json(report.manifest) if report.manifest else {}
    return {"output": str(report.output), "dry_run": False, **written}


def plan(report: Report) -> None:
    """Print on stderr, for ``-v``, what a conversion decided to write."""
    for file in planned(report):
        click.echo(
            printable(
                f"plan: {file['path']}, {file['target']} of {file['component']}, "
                f"{file['tensors']:,} tensors, at most {file['bytes_at_most']:,} bytes"
            ),
            err=True,
        )


def planned(report: Report) -> list[dict[str, Any]]:
    """The files a dry run would write."""
    return [
        {
            "path": artifact.path,
            "target": artifact.target,
            "component": artifact.of,
            "tensors": len(artifact.names),
            "bytes_at_most": artifact.nbytes,
        }
        for artifact in report.plan.artifacts
    ]


def report(done: Report) -> None:
    """Print what a conversion wrote and proved."""
    match = done.plan.match
    if done.manifest is None:
        files = planned(done)
        click.echo(f"nothing written; {done.output} would hold")
        columns = ("path", "target", "component", "tensors", "bytes_at_most")
        table("Planned", columns, [[file[key] for key in columns] for file in files])
        return
    passed = sum(check.passed for check in done.checks)
    layout = done.manifest.layout or "of no known layout"
    head = f"{match.checkpoint.path.name} is {layout}; {passed} checks passed"
    click.echo(printable(f"{head}; written to {done.output}"))
    lines("Evidence", match.evidence)
    rows = [[f.path, f.target, f.component, f.nbytes, f.sha256[:12]] for f in done.files]
    table("Files", ("file", "target", "component", "bytes", "sha256"), rows)
    parity = [
        [check.file, check.check, *(check.figures[key] for key in ("max_abs", "snr_db"))]
        for check in done.checks
        if "max_abs" in check.figures
    ]
    if parity:
        table("Parity", ("file", "against", "max abs", "SNR dB"), parity)
    unproved = [f"{c.file}: {said}" for c in done.checks for said in c.figures.get("unproved", ())]
    lines("Not proved", unproved)


def plugins(found: Sequence[Plugin], conflicts: Mapping[tuple[str, str], tuple[str, ...]]) -> None:
    """Print the table of plugins, and what is wrong with which."""
    rows = []
    for plugin in found:
        state = "off" if plugin.disabled else "set aside" if plugin.error else "works"
        brings = ", ".join(
            f"{kind[:-1]} {name}" for kind, names in plugin.declared.items() for name in names
        )
        rows.append((plugin.name, state, brings, f"{plugin.distribution} {plugin.version}"))
    table("Plugins", ("plugin", "state", "brings", "from"), rows)
    troubles = [
        f"{plugin.name}: {printable(trouble, 200)}; switch it off with -p no:{plugin.name}"
        for plugin in found
        for trouble in (*plugin.warnings, *((plugin.error,) if plugin.error else ()))
    ]
    troubles += [
        f"{kind[:-1]} {name} is declared by {' and '.join(both)}: switch one off, for example "
        f"with -p no:{both[-1]}"
        for (kind, name), both in conflicts.items()
    ]
    lines("What is wrong", troubles)
