"""Every way in which somebody who can write may change an output, digests mended afterwards.

``python -m tests.attacks.tampering DIR`` runs all of it on an output folder, and tells what
``verify`` does not.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from convcore.engine.audit.verify import verify
from convcore.errors import ConvcoreError
from convcore.host.registry import Registry, load_registry
from convcore.targets.check import CheckKind

Content = dict[str, Any]
# Other legal values of what is chosen from a list.
_WORDS = {
    "state": ("written", "alias", "cast", "folded", "dropped"),
    "origin": ("option", "file", "shape", "hyper_parameters", "default", "unknown"),
    "role": ("inference", "training"),
    "artifacts.kind": ("weights", "graph", "document", None),
    "checks.kind": tuple(CheckKind),
}
# Names that stand for something else in the manifest: any of these may take another's place.
_NAMES = ("path", "component", "target", "file", "key", "tensor", "name")

_MAPPINGS = ("settings", "sizes", "renamed", "spelt", "versions", "opaque", "request")

# Where verify tells nothing: what nothing else in the folder repeats. SECURITY.md has the list.
UNSEEN = frozenset(
    {
        "source.name", "source.bytes", "source.sha256", "source.format", "source.source",
        "evidence[]", "settings.*.origin", "opaque.*", "versions.*", "ledger[]", "ledger[].reason",
        "ledger[].dtype", "ledger[].shape[]", "checks[]", "checks[].check", "checks[].kind",
        "checks[].*", "request.*", "additions[]", "additions[].*", "weight_sets[]",
        "weight_sets[].*",
    }
)  # fmt: skip


def changes(content: Content, *, every: bool = False) -> Iterator[tuple[str, Content]]:
    """Yield changed manifests, each with the place of the change (indices left out).

    Args:
        content: The manifest.
        every: Change every row of every list; else the first, the middle and the last of each.
    """
    for path in _places(content, (), every=every):
        for changed in _changed(content, path):
            yield _spelt(path), changed


def _places(value: Any, path: tuple[Any, ...], *, every: bool) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*path, key), every=every)
    elif isinstance(value, list):
        chosen = range(len(value)) if every else sorted({0, len(value) // 2, len(value) - 1})
        for index in chosen if value else ():
            yield from _places(value[index], (*path, index), every=every)


def _changed(content: Content, path: tuple[Any, ...]) -> Iterator[Content]:
    *outer, last = path
    value = _at(content, path)
    holder = _at(content, outer)
    for other in _others(content, path, value):
        yield _with(content, outer, lambda there, other=other: there.__setitem__(last, other))
    if isinstance(holder, list):
        yield _with(content, outer, lambda there: there.pop(last))
        yield _with(content, outer, lambda there: there.append(copy.deepcopy(value)))
        if isinstance(value, dict) and len(holder) > 1:
            for field in value:
                yield _with(
                    content, outer, lambda there, field=field: _exchange(there, last, field)
                )
    elif len(path) == 2 and path[0] in _MAPPINGS:
        yield _with(content, outer, lambda there: there.pop(last))
        yield _with(content, outer, lambda there: there.update({f"{last}x": there.pop(last)}))


def _exchange(rows: list[Any], index: int, field: str) -> None:
    other = next(
        (row for row in rows if field in row and row[field] != rows[index][field]), rows[index]
    )
    rows[index][field], other[field] = other[field], rows[index][field]


def _others(content: Content, path: tuple[Any, ...], value: Any) -> Iterator[Any]:
    name = path[-1] if isinstance(path[-1], str) else path[-2]
    if isinstance(value, dict | list):
        return
    words = _WORDS.get(f"{path[0]}.{name}", _WORDS.get(name, ()))
    if words and isinstance(path[-1], str) and (path[0] != "checks" or name == "kind"):
        yield from (word for word in words if word != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
    elif value is None:
        yield "x"
    elif re.fullmatch("[0-9a-f]{64}", value):
        yield value[::-1]
    else:
        yield f"{value}x"
    if name in _NAMES and path[0] in ("files", "ledger", "components", "artifacts"):
        rows = {row.get(name) for row in content[path[0]]} - {value}
        yield from sorted((row for row in rows if row), key=str)[:2]
        if value is not None:
            yield None


def _with(content: Content, outer: Any, change: Callable[[Any], Any]) -> Content:
    changed = copy.deepcopy(content)
    change(_at(changed, outer))
    return changed


def _at(value: Any, path: Any) -> Any:
    for step in path:
        value = value[step]
    return value


def _spelt(path: tuple[Any, ...]) -> str:
    """``settings.*.value``, ``ledger[].reason``, ``checks[].*`` (of the figures)."""
    if path[0] == "request" and len(path) > 1:
        return "request.*"
    text = str(path[0])
    for depth, step in enumerate(path[1:], 1):
        if isinstance(step, int):
            text += "[]"
        elif depth == 1 and path[0] in _MAPPINGS:
            text += ".*"
        elif path[0] == "checks" and step not in ("file", "check", "kind", "passed"):
            return "checks[].*"
        elif path[0] in ("additions", "weight_sets"):
            return f"{text}.*"
        elif depth > 2 and path[0] == "settings":
            return "settings.*.value"
        else:
            text += f".{step}"
    return text


def file_changes(folder: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield, for each file of an output, what may be done to it, by name."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "manifest.json")
    for name in names:
        yield f"{name}: a byte changed", lambda out, name=name: _flip(out / name)
        yield f"{name}: a byte more", lambda out, name=name: _append(out / name)
        yield f"{name}: removed", lambda out, name=name: (out / name).unlink()
        alike = [other for other in names if other != name and _kind(other) == _kind(name)]
        for other in alike[:2]:
            yield (
                f"{name}: replaced by {other}",
                lambda out, name=name, other=other: shutil.copy(out / other, out / name),
            )
    yield "a file added", lambda out: (out / "added.bin").write_bytes(b"added")


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def mend(folder: Path) -> None:
    """Give every listed file its size and digest, and forget those that are gone."""
    content = json.loads((folder / "manifest.json").read_text())
    content["files"] = [file for file in content["files"] if (folder / file["path"]).exists()]
    for file in content["files"]:
        data = (folder / file["path"]).read_bytes()
        file.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(content))


def told(folder: Path, registry: Registry, before: int) -> bool:
    """Whether ``verify`` fails, or names more than ``before`` things that it could not check."""
    try:
        checks = verify(folder, registry)
    except ConvcoreError:
        return True
    return not all(c.passed for c in checks) or unchecked(checks) > before


def unchecked(checks: list[Any]) -> int:
    """How many checks say that they could not be made."""
    return sum("reason" in check.figures for check in checks)


def untold(folder: Path, *, every: bool = False) -> tuple[int, list[str], list[str]]:
    """Try everything on a copy of an output.

    Returns:
        How many changes there were, and the places and files of those that ``verify`` passed.
    """
    registry = load_registry()
    before = unchecked(verify(folder, registry))
    fields, files, count = [], [], 0
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "out")
        shutil.copytree(folder, out)
        text = (out / "manifest.json").read_text()
        for place, content in changes(json.loads(text), every=every):
            changed = json.dumps(content)
            if changed == json.dumps(json.loads(text)):
                continue
            count += 1
            (out / "manifest.json").write_text(changed)
            if not told(out, registry, before):
                fields.append(place)
        for name, change in file_changes(folder):
            count += 1
            shutil.rmtree(out)
            shutil.copytree(folder, out)
            change(out)
            mend(out)
            if not told(out, registry, before):
                files.append(name)
    return count, fields, files


if __name__ == "__main__":
    tried, places, names = untold(Path(sys.argv[1]), every=True)
    print(f"{tried} changes, {len(places) + len(names)} not told")
    for place in sorted(set(places)):
        print(f"  {places.count(place):5} {place}{'' if place in UNSEEN else '   UNEXPECTED'}")
    print("\n".join(f"        {name}" for name in names))
