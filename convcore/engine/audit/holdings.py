"""Holdings: what the weight files of an output hold, against ledger, components and checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.engine.audit.accounts import places
from convcore.errors import SourceError
from convcore.formats import open_archive, walk_tensors
from convcore.manifest.document import parameters
from convcore.manifest.fingerprint import fingerprint
from convcore.names import counted, few
from convcore.noun import Noun
from convcore.targets.target import Check
from convcore.tensors import LazyTensor

# Targets whose files any reader of checkpoints reads; strangers may have formats of their own.
READABLE = ("pth", "state-dict", "safetensors")
# Name in the source, key in the file, state.
_Row = tuple[str | None, Any, str]
_EXACT = "bytes equal to source"
_SHOWN = 20


@attrs.frozen(eq=False, repr=False)
class Holding(Noun):
    """One weight file, opened.

    Attributes:
        file: Its row in the manifest.
        tensors: Key in the file to tensor.
        named: Name in the source to tensor, as the ledger has it.
        fault: Why it could not be opened, or None.
    """

    file: Mapping[str, Any]
    tensors: Mapping[str, LazyTensor] = attrs.field(factory=dict)
    named: Mapping[str, LazyTensor] = attrs.field(factory=dict)
    fault: SourceError | None = None

    @property
    def readable(self) -> bool:
        """Whether its target's files are ones that every reader of checkpoints reads."""
        return self.file["target"] in READABLE


def open_holdings(folder: Path, content: Mapping[str, Any]) -> list[Holding]:
    """Open every file that the ledger says holds tensors, graphs aside."""
    rows: dict[str, dict[str, str | None]] = {}
    for row in content["ledger"]:
        for file, key, state in places(row):
            if row["tensor"] is not None and state in ("written", "alias"):
                rows.setdefault(file, {})[row["tensor"]] = key
    return [
        _open(folder, file, rows[file["path"]])
        for file in content["files"]
        if file["path"] in rows and not file["path"].endswith(".onnx")
    ]


def _open(folder: Path, file: Mapping[str, Any], rows: Mapping[str, str | None]) -> Holding:
    try:
        tensors = dict(walk_tensors(open_archive(folder / file["path"]).tree))
    except SourceError as error:
        return Holding(file, fault=error)
    named = {name: tensors[key] for name, key in rows.items() if key in tensors}
    return Holding(file, tensors, named)


def audit_holdings(content: Mapping[str, Any], holdings: list[Holding]) -> Iterator[Check]:
    """Hold every tensor of every weight file against its row, and each row against its tensor.

    Each storage is read once: its CRC-32 is compared where the container has one, and the
    fingerprint of the component it belongs to is computed from these sums.
    """
    names = {original: name for name, original in content["renamed"].items()}
    rows: dict[str, list[_Row]] = {}
    for row in content["ledger"]:
        for file, key, state in places(row):
            rows.setdefault(file, []).append((row["tensor"], key, state))
    parts = {part["name"]: part for part in content["components"]}
    for holding in holdings:
        path = holding.file["path"]
        if holding.fault is not None:
            if holding.readable:
                yield _failed(path, "tensors", [holding.fault.what])
            else:
                yield Check(path, "tensors not checked", True, {"reason": "a format of its own"})
            continue
        problems = [*_of_rows(rows[path], holding.tensors), *_of_checks(content, holding)]
        part = parts.get(holding.file["component"])
        if part is not None and not problems:
            found = {names.get(name, name): tensor for name, tensor in holding.named.items()}
            problems += of_component(part, found)
        elif holding.readable and part is None and holding.file["target"] != "state-dict":
            problems.append(f"it is of {holding.file['component']}, which is no component")
        if problems:
            yield _failed(path, "tensors", problems)
        else:
            yield Check(path, "tensors", True, {"tensors": len(holding.tensors)})


def _of_rows(rows: list[_Row], tensors: Mapping[str, LazyTensor]) -> Iterator[str]:
    odd = sorted({state for name, _, state in rows if name is None or state not in _STATES})
    if odd:
        yield f"a weight file cannot hold what is {few(odd)}"
    absent = [str(key) for _, key, _ in rows if key not in tensors]
    if absent:
        yield f"it has no tensor {few(absent)}"
        return
    # A name that shows another's elements may have that one's key in its row.
    told = {tensors[key].identity for _, key, _ in rows}
    untold = [key for key, tensor in tensors.items() if tensor.identity not in told]
    if not untold and len(rows) < len(tensors):
        untold = sorted(tensors.keys() - {key for _, key, _ in rows})
    if untold:
        yield f"no row of the ledger tells of {few(untold)}"
    elif len(rows) != len(tensors):
        yield f"it holds {counted(len(tensors), 'tensor')}, the ledger has {len(rows)} rows"
    yield from _of_aliases(rows, tensors)


def _of_aliases(rows: list[_Row], tensors: Mapping[str, LazyTensor]) -> Iterator[str]:
    """Of the names that show the same elements, the first in the file holds them."""
    order = {key: index for index, key in enumerate(tensors)}
    groups: dict[object, list[tuple[int, bool]]] = {}
    for _, key, state in rows:
        group = tensors[key].identity if tensors[key].nbytes else key
        groups.setdefault(group, []).append((order[key], state == "alias"))
    for group in groups.values():
        _, *others = sorted(group)
        if min(group)[1] or not all(alias for _, alias in others):
            key = next(key for key, index in order.items() if index == min(group)[0])
            yield f"{key} and {len(others)} names that show its elements are not told apart"


_STATES = ("written", "alias")


def _of_checks(content: Mapping[str, Any], holding: Holding) -> Iterator[str]:
    nbytes = sum(tensor.nbytes for tensor in holding.tensors.values())
    for check in content["checks"]:
        if (check["file"], check["check"]) == (holding.file["path"], _EXACT) and (
            check.get("tensors", len(holding.tensors)) != len(holding.tensors)
            or check.get("bytes", nbytes) != nbytes
        ):
            yield (
                f"it holds {counted(len(holding.tensors), 'tensor')} of {nbytes:,} bytes, "
                f"compared were {check.get('tensors')} of {check.get('bytes'):,}"
            )


def of_component(part: Mapping[str, Any], state: Mapping[str, LazyTensor]) -> Iterator[str]:
    """Hold tensors, under their names without wrappers, against a component's row."""
    try:
        for tensor in state.values():
            tensor.verify_record()
        found = fingerprint(state)
    except SourceError as error:
        yield error.what
        return
    if found != part["fingerprint"]:
        yield (
            f"its tensors are not those of {part['name']}: their fingerprint is {found[:12]}…, "
            f"recorded is {str(part['fingerprint'])[:12]}"
        )
        return
    counts = {
        "tensor_count": len(state),
        "parameter_count": parameters(state),
        "bytes": sum(tensor.nbytes for tensor in state.values()),
    }
    # What the layout drops belongs to a component and to no file: then the file has less.
    for name, count in counts.items():
        if count != part[name] and (count > part[name] or part["tensor_count"] == len(state)):
            said = name.replace("_", " ")
            yield f"{part['name']} has {said} {count:,}, recorded is {part[name]:,}"


def _failed(path: str, what: str, problems: list[str]) -> Check:
    return Check(path, what, False, {"problems": problems[:_SHOWN]})
