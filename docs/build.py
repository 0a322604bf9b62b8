"""Build the reference of the public Python interface from its docstrings, into docs/reference.

``python docs/build.py`` writes it; with ``--check`` it is built in a temporary folder, and any
warning is an error.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import warnings
from pathlib import Path

MODULES = ("convcore", "convcore.targets.weights", "convcore.unwrap", "convcore.layouts.settings",
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


def main() -> None:
    """Build, or check that building works."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing that stays")
    if parser.parse_args().check:
        with tempfile.TemporaryDirectory() as folder:
            pages = build(Path(folder))
    else:
        pages = build(Path(__file__).with_name("reference"))
    sys.stdout.write(f"{len(pages)} pages\n")


if __name__ == "__main__":
    main()
