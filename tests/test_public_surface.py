"""Nothing public comes, goes or changes without a line in CHANGES.md."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import convcore
from tests.conftest import ROOT
from tests.public_surface import surface

RELEASED = (ROOT / "tests/data/public_surface.txt").read_text("utf-8").splitlines()
UNRELEASED = re.split(r"^## ", (ROOT / "CHANGES.md").read_text("utf-8"), flags=re.MULTILINE)[1]


def names(lines: set[str]) -> set[str]:
    return {line.partition("(")[0].removeprefix("convcore.") for line in lines}


def test_what_changed_since_the_release_is_told_in_the_changes() -> None:
    changed = names(set(RELEASED) ^ set(surface()))

    untold = {name for name in changed if f"`{name}`" not in UNRELEASED}

    assert UNRELEASED.startswith("Unreleased")
    assert not untold, "name them in backticks under Unreleased in CHANGES.md"


@pytest.mark.parametrize("name", convcore.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert getattr(convcore, name).__doc__


def test_importing_convcore_imports_nothing_else_of_it() -> None:
    code = "import sys, convcore; print(*(m for m in sys.modules if m.startswith('convcore.')))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_a_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'convcore' has no attribute 'Layuot'"):
        convcore.Layuot  # noqa: B018 # reading it is the test


def test_the_interface_type_checks_as_its_users_write_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "tests/typing/sample.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )

    assert done.returncode == 0, done.stdout
