"""What README and each layout's docstring say is assumed is what the layouts declare."""

from __future__ import annotations

import importlib

import pytest

from convcore.host.registry import load_registry
from convcore.layouts.assumption import Assumption, shown
from tests.conftest import ROOT

LAYOUTS = ("cyclegan", "etm", "autoencoder", "seqsetvae", "umc")
README = (ROOT / "README.md").read_text("utf-8").splitlines()


def declared(name: str) -> tuple[Assumption, ...]:
    return load_registry().find("layouts", name).assumes


def row(each: Assumption) -> str:
    """One assumption as a line of a table: name, what is assumed, what it is."""
    value = "(nothing)" if each.value is None else shown(each.value)
    return f"| `{each.name}` | {value} | {each.summary} |"


def rows(name: str) -> list[str]:
    """README's rows of one layout, which say what else is computed too."""
    every = []
    for each in declared(name):
        choices = each.choices if len(each.also) < 8 else "those of transformers"
        others = "" if each.value is None and not each.between else choices
        every.append(f"| `{name}` {row(each)} {others} |")
    return every


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_readme_tells_what_a_layout_assumes(name: str) -> None:
    table = [line for line in README if line.startswith(f"| `{name}` | `")]

    assert table == rows(name)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_docstring_tells_what_a_layout_assumes(name: str) -> None:
    doc = importlib.import_module(f"convcore_{name}").__doc__ or ""

    table = [line for line in doc.splitlines() if line.startswith("| `")]

    assert table == [row(each) for each in declared(name)]
