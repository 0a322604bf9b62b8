"""Holdings: what the weight files of an output hold, against ledger, components and checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.engine.reopened import artifacts, opened, rows_of
from convcore.errors import SourceError
from convcore.manifest.document import parameters
from convcore.manifest.fingerprint import fingerprint
from convcore.names import counted, few
from convcore.noun import Noun
from convcore.targets.target import Artifact, Check, LedgerEntry, Target
from convcore.targets.weights import EXACT
from convcore.tensors import LazyTensor

_SHOWN = 20
# What a file of weights can hold, unless its target rechecks the rest.
_STATES = ("written", "alias")


@attrs.frozen(eq=False, repr=False)
class Holding(Noun):
    """One weight file, opened.

    Attributes:
        artifact: What it is.
        rows: What the ledger tells of it.
        rechecked: Whether its target compares what is cast or fresh.
        tensors: Key in the file to tensor.
        named: Name in the source to tensor, as the ledger has it.
        fault: Why it could not be opened, or None.
        foreign: Why that is no fault of the file, or None.
    """

    artifact: Artifact
    rows: list[LedgerEntry]
    rechecked: bool
    tensors: Mapping[str, LazyTensor] = attrs.field(factory=dict)
    named: Mapping[str, LazyTensor] = attrs.field(factory=dict)
    fault: SourceError | None = None
    foreign: str | None = None


def open_holdings(
    folder: Path, content: Mapping[str, Any], targets: Mapping[str, Target]
) -> list[Holding]:
    """Open every file that the ledger says holds tensors, graphs aside."""
    rows = rows_of(content)
    return [
        _open(folder, artifact, rows[artifact.path], targets)
        for artifact in artifacts(content, targets)
        if artifact.kind != "graph"
        and any(row.tensor and row.state in _STATES for row in rows.get(artifact.path, ()))
    ]


def _open(
    folder: Path, artifact: Artifact, rows: list[LedgerEntry], targets: Mapping[str, Target]
) -> Holding:
    target = targets.get(artifact.target)
    rechecked = target is not None and target.recheck is not None
    tensors = opened(folder, artifact, targets)
    if isinstance(tensors, SourceError):
        foreign = None
        if target is None:
            foreign = f"the target {artifact.target} is not installed"
        elif target.reopen is None:
            foreign = "a format of its own"
        return Holding(artifact, rows, rechecked, fault=tensors, foreign=foreign)
    keys = {row.tensor: row.key for row in rows if row.tensor and row.state in _STATES}
    named = {name: tensors[key] for name, key in keys.items() if key is not None and key in tensors}
    return Holding(artifact, rows, rechecked, tensors, named)


def audit_holdings(content: Mapping[str, Any], holdings: list[Holding]) -> Iterator[Check]:
    """Hold every tensor of every weight file against its row, and each row against its tensor.

    Each storage is read once: its CRC-32 is compared where the container has one, and the
    fingerprint of the component it belongs to is computed from these sums.
    """
    names = {original: name for name, original in content["renamed"].items()}
    parts = {part["name"]: part for part in content["components"]}
    for holding in holdings:
        path = holding.artifact.path
        if holding.foreign is not None:
            yield Check(path, "tensors not checked", True, {"reason": holding.foreign})
            continue
        if holding.fault is not None:
            yield _failed(path, "tensors", [holding.fault.what])
            continue
        problems = [*_of_rows(holding), *_of_checks(content, holding)]
        part = parts.get(holding.artifact.of)
        if part is not None and not problems:
            found = {names.get(name, name): tensor for name, tensor in holding.named.items()}
            problems += of_component(part, found)
        if problems:
            yield _failed(path, "tensors", problems)
        else:
            yield Check(path, "tensors", True, {"tensors": len(holding.tensors)})


def _of_rows(holding: Holding) -> Iterator[str]:
    rows, tensors = holding.rows, holding.tensors
    odd = sorted({row.state for row in rows if row.tensor is None or row.state not in _STATES})
    if odd and not holding.rechecked:
        yield f"a weight file cannot hold what is {few(odd)}"
    absent = [str(row.key) for row in rows if row.key not in tensors]
    if absent:
        yield f"it has no tensor {few(absent)}"
        return
    # A name that shows another's elements may have that one's key in its row.
    keys = [row.key for row in rows if row.key is not None]
    told = {tensors[key].identity for key in keys}
    untold = [key for key, tensor in tensors.items() if tensor.identity not in told]
    if not untold and len(rows) < len(tensors):
        untold = sorted(tensors.keys() - set(keys))
    if untold:
        yield f"no row of the ledger tells of {few(untold)}"
    elif len(rows) != len(tensors):
        yield f"it holds {counted(len(tensors), 'tensor')}, the ledger has {len(rows)} rows"
    yield from _of_aliases(rows, tensors)


def _of_aliases(rows: list[LedgerEntry], tensors: Mapping[str, LazyTensor]) -> Iterator[str]:
    """Of the names that show the same elements, the first in the file holds them."""
    order = {key: index for index, key in enumerate(tensors)}
    groups: dict[object, list[tuple[int, bool]]] = {}
    for row in rows:
        name = row.key or ""
        elements = tensors[name].identity if tensors[name].nbytes else name
        groups.setdefault(elements, []).append((order[name], row.state == "alias"))
    for group in groups.values():
        _, *others = sorted(group)
        if min(group)[1] or not all(alias for _, alias in others):
            key = next(key for key, index in order.items() if index == min(group)[0])
            yield f"{key} and {len(others)} names that show its elements are not told apart"


def _of_checks(content: Mapping[str, Any], holding: Holding) -> Iterator[str]:
    nbytes = sum(tensor.nbytes for tensor in holding.tensors.values())
    for check in content["checks"]:
        if (check["file"], check["check"]) == (holding.artifact.path, EXACT) and (
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
