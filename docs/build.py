"""Build the reference of the public Python interface from its docstrings, into docs/reference.

``python docs/build.py`` writes it, and docs/options.md, the table of all options; with ``--check``
the reference is built in a temporary folder, and any warning is an error.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

MODULES = ("convcore", "convcore.targets.weights", "convcore.sources", "convcore.layouts.settings",
           "convcore.host.hookspecs", "convcore.testing")  # fmt: skip


def build(folder: Path) -> list[Path]:
    """Write the reference below a folder and return its pages.

    Raises:
        Warning: pdoc could not resolve something, or a public name has no docstring.
    """
    import pdoc
    import pdoc.doc

    import convcore
    import convcore.testing

    warnings.simplefilter("error")
    for package in (convcore, convcore.testing):
        for name in package.__all__:
            # pdoc looks into the module's dictionary: what is imported late has to be there.
            setattr(package, name, getattr(package, name))
    undocumented = [
        f"{module}.{name}"
        for module in MODULES
        for name, member in pdoc.doc.Module.from_name(module).members.items()
        if not name.startswith("_") and not member.docstring and member.kind != "variable"
    ]
    if undocumented:
        raise UserWarning(f"without a docstring: {', '.join(undocumented)}")
    pdoc.render.configure(docformat="google", show_source=False)
    folder = folder.resolve()
    folder.mkdir(exist_ok=True)
    # Elsewhere, because pdoc takes a folder of the same name in the current one for what is meant.
    with contextlib.chdir(folder):
        pdoc.pdoc(*MODULES, output_directory=folder)
    return sorted(folder.rglob("*.html"))


def options() -> str:
    """The options of all commands as a table in Markdown, one row for each meaning."""
    import click

    import convcore
    from convcore.cli.commands import main
    from convcore.options import TABLES, described
    from convcore.report.view import Table, markdown

    context = click.Context(main)
    rows: dict[tuple[str, ...], list[str]] = {}
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None  # it is listed
        has_function = name in TABLES and callable(getattr(convcore, name, None))
        in_python = {each.name for each in described(TABLES[name])} if has_function else set()
        for option in command.params:
            if isinstance(option, click.Option):
                rows.setdefault(_row(option, option.name in in_python), []).append(name)
    head = [
        "# Options",
        "",
        "Made by `python docs/build.py` from `convcore/options/`; `convcore COMMAND --help` says",
        "it too. A name under Python is a keyword of the function, or of the method of",
        "`convcore.Session`, that is called like the command.",
        "",
    ]
    headings = ("option", "commands", "default", "in Python", "meaning")
    lines = [[typed, ", ".join(names), *more] for (typed, *more), names in rows.items()]
    return "\n".join([*head, markdown(Table("", headings, lines)), ""])


def _row(option: click.Option, in_python: bool) -> tuple[str, ...]:
    import click

    value = option.metavar or (
        "" if option.is_flag else option.make_metavar(click.Context(click.Command("")))
    )
    typed = ", ".join(f"`{word}`" for word in option.opts)
    default = option.default if isinstance(option.default, tuple) else (option.default,)
    shown = ", ".join(f"`{each}`" for each in default if option.show_default)
    return (
        f"{typed} {value and f'`{value}`'}".rstrip(),
        "required" if option.required else shown,
        f"`{option.name}`" if in_python else "",
        option.help or "",
    )


def main() -> None:
    """Build, or check that building works."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing that stays")
    if parser.parse_args().check:
        with tempfile.TemporaryDirectory() as folder:
            pages = build(Path(folder))
    else:
        pages = build(Path(__file__).with_name("reference"))
        Path(__file__).with_name("options.md").write_text(options(), "utf-8")
    sys.stdout.write(f"{len(pages)} pages\n")


if __name__ == "__main__":
    main()
