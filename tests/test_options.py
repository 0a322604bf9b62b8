"""One table: what a command takes, a function takes, and a request holds are the same fields."""

from __future__ import annotations

import inspect
import runpy

import attrs
import click
import pytest

import convcore
from convcore.cli.commands import main
from convcore.engine.request import Request
from convcore.errors import UsageError
from convcore.options import TABLES, ConvertOptions, described
from tests.conftest import ROOT

# What concerns only how the answer is told.
TOLD = {"as_json", "suggest_layout"}
IN_PYTHON = ("convert", "inspect", "verify", "diff")


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", TABLES)
def test_a_command_takes_what_its_table_says_and_nothing_else(name: str) -> None:
    table = {each.name: each for each in described(TABLES[name])}

    parameters = {p.name: p for p in command(name).params if p.name not in {*TOLD, "verbose"}}

    assert parameters.keys() == table.keys()
    for parameter in parameters.values():
        if isinstance(parameter, click.Option):
            assert parameter.help == table[parameter.name or ""].option.help


@pytest.mark.parametrize("name", IN_PYTHON)
def test_a_function_takes_what_its_table_says_with_the_same_defaults(name: str) -> None:
    function = getattr(convcore, name)

    parameters = inspect.signature(function).parameters

    table = inspect.signature(TABLES[name]).parameters
    assert {k: v.default for k, v in parameters.items()} == {k: v.default for k, v in table.items()}
    for each in described(TABLES[name]):
        assert f"    {each.name}: {each.option.help}\n" in function.__doc__


def test_an_option_that_is_added_to_the_table_is_taken_everywhere() -> None:
    from convcore.cli import options
    from convcore.options import option

    @attrs.frozen(eq=False, repr=False)
    class Further(ConvertOptions):
        colour: str | None = option("red", "Of the output.", choices=("red", "blue"))

    seen: dict[str, object] = {}
    further = click.command(options.taking(Further)(lambda **given: seen.update(given)))

    further.main(["m.pt", "-o", "out", "--colour", "blue"], standalone_mode=False)

    assert Further(**seen).colour == "blue"


@pytest.mark.parametrize(
    ("given", "names", "splits"),
    [
        ("a", ("a",), {}),
        (["a", "b"], ("a", "b"), {}),
        (["a=x.", "b=y."], (), {"a": "x.", "b": "y."}),
        ({"a": "x."}, (), {"a": "x."}),
        ((), (), {}),
    ],
    ids=["a name", "names", "as typed", "a mapping", "none"],
)
def test_components_are_meant_alike_however_they_are_given(
    given: object, names: tuple[str, ...], splits: dict[str, str]
) -> None:
    request = Request("m.pt", "out", components=given)

    assert (request.components, request.splits) == (names, splits)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"components": ["a", "b=y."]}, "exclude each other"),
        ({"components": ["a=x.", "a=y."]}, "--component a=y. is given twice"),
        ({"config": ["nheads"]}, "--config nheads has no value"),
    ],
    ids=["both kinds", "twice", "no value"],
)
def test_values_that_cannot_be_meant_are_refused_by_their_option(options: dict, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Request("m.pt", "out", **options)


def test_the_page_of_options_is_what_the_table_makes() -> None:
    made = runpy.run_path(str(ROOT / "docs/build.py"))["options"]()

    assert (ROOT / "docs/options.md").read_text("utf-8") == made, "run python docs/build.py"
