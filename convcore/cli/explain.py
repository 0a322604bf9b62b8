"""``convcore explain``."""

from __future__ import annotations

from pathlib import Path

import click

from convcore.cli import options
from convcore.errors import UsageError


@click.command("explain")
@click.argument("folder", metavar="DIR", type=options.PATH)
@click.option("--tensor", required=True, metavar="NAME", help="Name in the source or in a file.")
@options.as_json
def command(folder: Path, tensor: str, as_json: bool) -> None:
    """Say where one tensor of the output in DIR came from or went."""
    from convcore.cli import show
    from convcore.manifest import document as manifest
    from convcore.manifest.rows import whole_row
    from convcore.names import nearest

    content = manifest.load(folder)
    # Under any of its names: in the source, in a file, without wrappers or as --rename gave it.
    spelt = [name for name, author in content.spelt.items() if author == tensor]
    keys = {tensor, *(content.renamed.get(name, name) for name in (tensor, *spelt))}
    rows = [row for row in content.ledger if row.tensor in keys or row.key == tensor]
    if not rows:
        known = {str(row.tensor) for row in content.ledger}
        raise UsageError(
            f"the ledger of {folder} has no tensor {tensor!r}",
            seen=nearest(tensor, known | set(content.renamed), 3),
            remedy="give a name that convcore inspect --tensors shows",
        )
    if as_json:
        show.json_document({"tensor": tensor, "ledger": [whole_row(row) for row in rows]})
        return
    columns = ("tensor", "target", "state", "file", "key", "reason")
    show.table(
        f"{tensor} of {content.source.name}",
        columns,
        [[getattr(row, column) for column in columns] for row in rows],
    )
