"""``convcore verify``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from convcore.cli import options
from convcore.cli.commands import Invocation
from convcore.errors import VerificationError
from convcore.names import few
from convcore.options import VerifyOptions
from convcore.targets.check import Check, CheckKind


@click.command("verify")
@options.taking(VerifyOptions)
@options.as_json
@click.pass_obj
def command(invocation: Invocation, /, *, as_json: bool, **given: Any) -> None:
    """Hold DIR against its manifest and re-run parity from what lies on disk."""
    from convcore.cli import show
    from convcore.manifest.rows import check_as_json
    from convcore.verification.failure import told

    checks, folder = invocation.session().verify(**given), given["folder"]
    failed = [check for check in checks if not check.passed]
    if failed:
        files = list(dict.fromkeys(check.file for check in failed))
        raise VerificationError(
            f"{len(failed)} of {len(checks)} checks failed in {folder}: {few(files, 12)}",
            seen=[f"{check.file}: {check.check}: {told(check.figures)}" for check in failed],
            remedy=_remedy(failed),
        )
    if as_json:
        show.json_document({"passed": True, "checks": [check_as_json(check) for check in checks]})
        return
    skipped = [check for check in checks if check.skipped]
    made = [check for check in checks if check not in skipped]
    show.table(
        f"{len(made)} checks passed in {folder}",
        ("file", "checked", "max abs", "allowed"),
        [_row(file, made) for file in dict.fromkeys(check.file for check in made)],
    )
    parity = [check for check in skipped if check.kind is CheckKind.PARITY]
    others = [check for check in skipped if check not in parity]
    show.lines("Parity not re-run", [f"{c.file}: {c.skipped}" for c in parity])
    unproved = [(c.file, said) for c in made for said in c.figures.get("unproved", ())]
    show.lines("Compared, and not proved", [f"{file}: {said}" for file, said in unproved])
    show.lines("Not checked", [f"{c.file}: {c.check}: {c.skipped}" for c in others])
    show.lines("As recorded", ["nothing here can confirm the source, its evidence, the versions"])


def _row(file: str, checks: Sequence[Check]) -> tuple[object, ...]:
    mine = [check for check in checks if check.file == file]
    figures = next((check.figures for check in mine if "max_abs" in check.figures), {})
    checked = ", ".join(check.check for check in mine)
    return file, checked, figures.get("max_abs"), figures.get("tolerance")


def _remedy(failed: Sequence[Check]) -> str:
    if all(check.kind is CheckKind.PARITY for check in failed):
        recorded = next((c.figures["recorded"] for c in failed if "recorded" in c.figures), None)
        given = f" ({recorded} is what its manifest says was given)" if recorded else ""
        return f"compare the figures; where they are noise, give --atol{given}"
    if all(check.kind is CheckKind.LISTING for check in failed):
        return "move what is not convcore's own out of the folder, or convert the checkpoint again"
    return "convert the checkpoint again; what lies there is not what was written"
