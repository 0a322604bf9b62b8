"""What the documents name is there."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

PAGES = (
    "README.md",
    "SECURITY.md",
    "plugins/README.md",
    "benchmarks/README.md",
    "docs/symptoms.md",
)
PATHS = re.compile(r"`(?:python )?((?:tests|benchmarks|convcore|docs|examples)/[\w./*-]+)")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_the_project_that_a_page_names_exists(page: str) -> None:
    named = set(PATHS.findall((ROOT / page).read_text("utf-8")))

    assert [path for path in sorted(named) if not any(ROOT.glob(path.rstrip("/.")))] == []


def test_security_names_the_tests_that_hold_its_promises() -> None:
    named = PATHS.findall((ROOT / "SECURITY.md").read_text("utf-8"))

    assert {"tests/faults/test_quiet_machine.py", "tests/attacks/test_nothing_runs.py"} <= {*named}


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_a_page_shows_after_a_command_exists(page: str) -> None:
    import click

    from convcore.cli.commands import main

    text = (ROOT / page).read_text("utf-8").replace("\\\n", " ")
    unknown = []
    for name, words in re.findall(r"\bconvcore ([a-z][a-z-]+)([^\n`#|;]*)", text):
        command = main.get_command(click.Context(main), name)
        if command is None:
            continue
        known = {option for each in command.params for option in each.opts}
        if isinstance(command, click.Group):
            known |= {o for c in command.commands.values() for p in c.params for o in p.opts}
        unknown += [
            (name, word) for word in re.findall(r"(?<!\S)--[a-z-]+", words) if word not in known
        ]

    assert unknown == []
