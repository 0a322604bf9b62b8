"""A table apart from how it is drawn: by rich on a terminal, as plain text, as markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from convcore.escape import printable

if TYPE_CHECKING:
    import rich.table


class Table(NamedTuple):
    """One table, and what is to be known about it.

    Attributes:
        title: Its heading; may be empty in markdown.
        headings: One for each column, with the unit where there is one.
        rows: One value for each heading; None leaves its cell empty.
        notes: Sentences that belong below it.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[object]]
    notes: Sequence[str] = ()

    @property
    def cells(self) -> list[list[str]]:
        """The rows as text."""
        return [[text(value) for value in row] for row in self.rows]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold nothing but numbers; these are set to the right."""
        return [
            all(row[index] is None or isinstance(row[index], int | float) for row in self.rows)
            for index in range(len(self.headings))
        ]


def text(value: object) -> str:
    """A value as it stands in a cell, without anything that could steer a terminal."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def plain(table: Table) -> str:
    """In aligned columns: whoever pipes us need not wait for rich to be imported."""
    cells, numeric = table.cells, table.numeric
    lines = [printable(table.title)]
    widths = [max(map(len, column)) for column in zip(table.headings, *cells, strict=True)]
    for line in ([*table.headings], *cells):
        words = zip(line, widths, numeric, strict=True)
        padded = [word.rjust(width) if right else word.ljust(width) for word, width, right in words]
        lines.append(f"  {'  '.join(padded)}".rstrip())
    return "\n".join(lines)


def drawn(table: Table) -> rich.table.Table:
    """As rich draws it, for a console."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Drawn
    from rich.text import Text

    title = Text(printable(table.title), "table.title")
    made = Drawn(title=title, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for heading, right in zip(table.headings, table.numeric, strict=True):
        made.add_column(Text(heading), justify="right" if right else "left", overflow="fold")
    for row in table.cells:
        # Text, not str: what a checkpoint says must not be read as markup.
        made.add_row(*map(Text, row))
    return made


def markdown(table: Table) -> str:
    """As markdown, the notes as a list below."""
    rule = ["---:" if right else "---" for right in table.numeric]
    rows = [[word.replace("|", r"\|") for word in row] for row in (table.headings, *table.cells)]
    lines = [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]
    notes = [f"- {note}" for note in table.notes]
    return "\n\n".join("\n".join(part) for part in (lines, notes) if part)
