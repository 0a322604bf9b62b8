"""``convcore convert``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from convcore.cli import options
from convcore.cli.commands import Session


@click.command("convert")
@click.argument("checkpoint", type=options.PATH)
@click.option("-o", "--output", type=options.PATH, required=True, help="Folder to write.")
@click.option(
    "--to", "targets", multiple=True, default=("pth",), show_default=True, help="Target. Repeats."
)
@options.reading
@click.option(
    "--component", "components", multiple=True, metavar="NAME[=KEY_PREFIX]", help="Take this one."
)
@click.option(
    "--no-discriminators", "--inference-only", is_flag=True, help="Leave out training components."
)
@click.option("--all-components", is_flag=True, help="Export training components to ONNX too.")
@click.option("--opset", type=int, help="ONNX operator set (default 20).")
@click.option(
    "--verify",
    type=click.Choice(["fast", "full", "none"]),
    default="fast",
    show_default=True,
    help="How much is proved after writing.",
)
@click.option("--atol", type=float, help="Absolute parity tolerance.")
@click.option("--rtol", type=float, help="Relative parity tolerance.")
@click.option("--allow-nan", is_flag=True, help="Write graphs whose outputs are NaN, not proved.")
@click.option("--create-inference-script", is_flag=True, help="Write inference_example.py too.")
@click.option("--hash-source", is_flag=True, help="Record the input's SHA-256.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output as a whole.")
@click.option("--add", is_flag=True, help="Add targets to an existing output of the same input.")
@options.as_json
@click.pass_obj
def command(
    session: Session, /, checkpoint: Path, output: Path, as_json: bool, **given: Any
) -> None:
    """Convert CHECKPOINT (a file or a folder) and verify what was written."""
    from convcore.engine.conversion import convert
    from convcore.engine.request import Request
    from convcore.host.registry import load_registry

    names = [text for text in given["components"] if "=" not in text]
    splits = options.pairs([t for t in given["components"] if "=" in t], "--component")
    request = Request(
        checkpoint,
        output,
        given["targets"],
        given["layout"],
        given["source"],
        tuple(names),
        splits,
        not given["no_discriminators"],
        given["all_components"],
        options.pairs(given["config"], "--config"),
        given["opset"],
        given["verify"],
        given["atol"],
        given["rtol"],
        given["create_inference_script"],
        given["key"],
        given["hash_source"],
        given["allow_opaque_calls"],
        given["dry_run"],
        given["overwrite"],
        given["add"],
        given["allow_nan"],
    )
    registry = load_registry(session.disabled, options.layouts_of(given["layout_file"]))
    from convcore.cli import show

    show.broken_plugins(registry)
    # What a plugin prints must not get between the lines of the one JSON document.
    aside = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with aside, show.progress(quiet=as_json) as told:
        report = convert(request, registry, told)
    if session.verbose:
        show.plan(report)
    if as_json:
        show.json_document(show.report_as_dict(report))
    else:
        show.report(report)
