"""``convcore verify``."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from convcore.cli import options
from convcore.cli.commands import Session
from convcore.errors import VerificationError


@click.command("verify")
@click.argument("folder", metavar="DIR", type=options.PATH)
@options.as_json
@click.pass_obj
def command(session: Session, folder: Path, as_json: bool) -> None:
    """Re-hash every file in DIR and re-run parity from what lies on disk."""
    from convcore.cli import show
    from convcore.host import load_registry
    from convcore.proof.verification import verify

    checks = verify(folder, load_registry(session.disabled))
    failed = [check for check in checks if not check.passed]
    if failed:
        raise VerificationError(
            f"{len(failed)} of {len(checks)} checks failed in {folder}: {failed[0].file}",
            seen=[f"{check.file}: {check.check}: {dict(check.figures)}" for check in failed],
            remedy="convert the checkpoint again; what lies there is not what was written",
        )
    if as_json:
        show.json_document({"passed": True, "checks": [attrs.asdict(check) for check in checks]})
        return
    skipped = [check for check in checks if "reason" in check.figures]
    rows = [(c.file, c.check, c.figures.get("max_abs", "")) for c in checks if c not in skipped]
    show.table(f"{len(rows)} checks passed in {folder}", ("file", "check", "max abs"), rows)
    show.lines("Parity not re-run", [f"{c.file}: {c.figures['reason']}" for c in skipped])
