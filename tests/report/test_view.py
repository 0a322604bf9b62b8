"""One table, drawn in three ways."""

from __future__ import annotations

import io

from rich.console import Console

from convcore.report.view import Table, drawn, markdown, plain

TABLE = Table(
    "Files",
    ("file", "bytes", "max abs"),
    [("a.bin", 1234567, 1.23456e-7), ("[red]b|c\x1b[2J", 5, None)],
    ("one is broken",),
)


def test_plain_text_is_aligned_and_numbers_are_set_to_the_right() -> None:
    assert plain(TABLE).splitlines() == [
        "Files",
        "  file                 bytes   max abs",
        "  a.bin            1,234,567  1.23e-07",
        "  [red]b|c\\x1b[2J          5",
    ]


def test_a_console_shows_the_same_words_and_no_markup_of_theirs() -> None:
    console = Console(file=io.StringIO(), width=80)

    console.print(drawn(TABLE))

    assert isinstance(console.file, io.StringIO)
    shown = [line.split() for line in console.file.getvalue().splitlines()]
    assert shown[0] == ["Files"]
    assert ["a.bin", "1,234,567", "1.23e-07"] in shown
    assert ["[red]b|c\\x1b[2J", "5"] in shown


def test_a_bracket_in_a_title_or_heading_is_no_markup() -> None:
    console = Console(file=io.StringIO(), width=80)

    console.print(drawn(Table("in [b]/x", ("[i]learning",), [[1]])))

    assert isinstance(console.file, io.StringIO)
    assert "in [b]/x" in console.file.getvalue()
    assert "[i]learning" in console.file.getvalue()


def test_markdown_has_a_rule_a_bar_in_a_cell_is_escaped_and_notes_are_a_list() -> None:
    assert markdown(TABLE).splitlines() == [
        "| file | bytes | max abs |",
        "| --- | ---: | ---: |",
        "| a.bin | 1,234,567 | 1.23e-07 |",
        "| [red]b\\|c\\x1b[2J | 5 |  |",
        "",
        "- one is broken",
    ]


def test_a_table_without_rows_shows_its_headings() -> None:
    assert plain(Table("Nothing", ("file", "bytes"), [])) == "Nothing\n  file  bytes"
