"""A plugin's first project, written from templates: it works, and its tests pass, as it stands."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Literal

from convcore import __version__
from convcore.errors import UsageError

Kind = Literal["layout", "source", "target"]
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TEMPLATES = Path(__file__).with_name("new_plugin_files")
_PREFIX = "convcore-"


def write_project(name: str, kind: Kind, folder: Path | None = None) -> tuple[Path, list[Path]]:
    """Write a project that brings one thing.

    Args:
        name: What it is called, for example ``pix2pix``; ``convcore-pix2pix`` means the same.
        kind: What it is.
        folder: Where to write; None takes ``convcore-NAME`` in the current folder.

    Returns:
        The folder and the files in it.

    Raises:
        UsageError: The name cannot be a package's, is taken, or the folder is not empty.
    """
    short = name.lower().replace("_", "-").removeprefix(_PREFIX)
    if not _NAME.fullmatch(short) or len(short) > 60:
        raise UsageError(
            f"{name!r} cannot be a plugin's name",
            remedy="use lower-case letters, digits and hyphens, and begin with a letter",
        )
    package = f"convcore_{short.replace('-', '_')}"
    if importlib.util.find_spec(package) is not None:
        raise UsageError(f"a package {package} is installed already", remedy="choose another name")
    folder = folder or Path(f"{_PREFIX}{short}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already", remedy="name an empty folder with -o")
    words = {
        "name": short,
        "kind": kind,
        "package": package,
        "distribution": f"{_PREFIX}{short}",
        "title": short.title().replace("-", ""),
        "version": __version__,
    }
    return folder, [_write(folder, home, path, words) for home, path in _templates(kind)]


def _templates(kind: Kind) -> list[tuple[Path, Path]]:
    homes = (_TEMPLATES / "common", _TEMPLATES / kind)
    return [(home, path) for home in homes for path in sorted(home.rglob("*.jinja"))]


def _write(folder: Path, home: Path, template: Path, words: dict[str, str]) -> Path:
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # code and TOML; every word of it is checked above
    )
    relative = str(template.relative_to(home).with_suffix("")).replace(
        "__package__", words["package"]
    )
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(environment.from_string(template.read_text("utf-8")).render(words), "utf-8")
    return path
