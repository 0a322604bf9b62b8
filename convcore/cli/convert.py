"""``convcore convert``."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from convcore.cli import options
from convcore.cli.commands import Invocation
from convcore.options import ConvertOptions


@click.command("convert")
@options.taking(ConvertOptions)
@options.as_json
@click.pass_obj
def command(invocation: Invocation, /, *, as_json: bool, **given: Any) -> None:
    """Convert CHECKPOINT (a file or a folder) and verify what was written."""
    from convcore.cli import show

    # What a plugin prints must not get between the lines of the one JSON document.
    aside = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with aside, show.progress(quiet=as_json) as told:
        report = invocation.session(told).convert(**given)
    if invocation.verbose:
        show.plan(report)
    if as_json:
        show.json_document(show.report_as_dict(report))
    else:
        show.report(report)
