"""``manifest.json`` as a file: read with every quantity bounded, whichever version wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import convcore
from convcore.errors import SourceError, UsageError
from convcore.formats.bounded_json import read_json
from convcore.manifest.record import SCHEMA_VERSION, Manifest

NAME = "manifest.json"
_READABLE = (1, SCHEMA_VERSION)


def load(folder: Path) -> Manifest:
    """Read the manifest of an output folder.

    Raises:
        UsageError: There is none, or it is of another version.
        SourceError: It is damaged, or was tampered with.
    """
    from convcore.manifest.reading import structure

    path = folder / NAME
    if not path.is_file():
        raise UsageError(
            f"{folder} is no output of convcore: it has no {NAME}",
            remedy="give a folder that convcore convert wrote",
        )
    content = read_json(path)
    found = content.get("schema_version") if isinstance(content, dict) else None
    if type(found) is not int or found not in _READABLE:
        raise UsageError(
            f"{path} has schema version {found!r:.40}, this convcore reads "
            f"{' and '.join(map(str, _READABLE))}",
            remedy="convert the checkpoint again with this version",
        )
    try:
        return structure(content)
    except ValueError as error:
        wrote = content.get("convcore_version")
        newer = wrote != convcore.__version__
        raise SourceError(
            f"{path} is no manifest that convcore wrote: {error}",
            seen=[f"convcore {wrote!r:.40} wrote it, this is {convcore.__version__}"] * newer,
            remedy="convert the checkpoint again; the file was changed or damaged",
        ) from error


def listed_names(folder: Path) -> frozenset[str] | None:
    """Names of an output's own files, its manifest being of any version and in any state.

    Returns:
        None where there is no manifest, or none that convcore wrote.
    """
    path = folder / NAME
    if path.is_symlink() or not path.is_file():
        return None
    try:
        content = read_json(path)
    except (SourceError, OSError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("convcore_version"), str):
        return None
    rows = content.get("files")
    rows = rows if isinstance(rows, list) else []
    return frozenset({NAME, *(str(row.get("path")) for row in rows if isinstance(row, dict))})


def dumps(content: object) -> bytes:
    """Render JSON for a document beside it: indented, no NaN, one newline at the end."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=True)
    return text.encode() + b"\n"


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) that every manifest written now conforms to."""
    file = Path(__file__).with_name("manifest.schema.json")
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return content
