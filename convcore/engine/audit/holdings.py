"""Holdings: what the weight files of an output hold, against ledger, components and checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from convcore.engine.reopened import artifacts, opened, rows_of
from convcore.errors import SourceError
from convcore.manifest.fingerprint import fingerprint
from convcore.manifest.parts import ComponentRecord, parameters
from convcore.manifest.record import Manifest
from convcore.names import counted, few
from convcore.noun import Noun
from convcore.targets.check import Check, CheckKind, not_made
from convcore.targets.target import Artifact, LedgerEntry, Target
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


def open_holdings(folder: Path, content: Manifest, targets: Mapping[str, Target]) -> list[Holding]:
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


def audit_holdings(content: Manifest, holdings: list[Holding]) -> Iterator[Check]:
    """Hold every tensor of every weight file against its row, and each row against its tensor.

    Each storage is read once: its CRC-32 is compared where the container has one, and the
    fingerprint of the component it belongs to is computed from these sums.
    """
    names = content.names
    parts = {part.name: part for part in content.components}
    for holding in holdings:
        path = holding.artifact.path
        if holding.foreign is not None:
            yield not_made(path, "tensors", CheckKind.TENSORS, holding.foreign)
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
            figures = {"tensors": len(holding.tensors)}
            yield Check(path, "tensors", True, figures, CheckKind.TENSORS)


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


def _of_checks(content: Manifest, holding: Holding) -> Iterator[str]:
    nbytes = sum(tensor.nbytes for tensor in holding.tensors.values())
    for check in content.checks:
        if check.file == holding.artifact.path and check.kind is CheckKind.BYTES:
            tensors = check.figures.get("tensors", len(holding.tensors))
            compared = check.figures.get("bytes", nbytes)
            if (tensors, compared) != (len(holding.tensors), nbytes):
                yield (
                    f"it holds {counted(len(holding.tensors), 'tensor')} of {nbytes:,} bytes, "
                    f"compared were {tensors:,} of {compared:,}"
                )


def of_component(part: ComponentRecord, state: Mapping[str, LazyTensor]) -> Iterator[str]:
    """Hold tensors, under their names without wrappers, against a component's row."""
    try:
        for tensor in state.values():
            tensor.verify_record()
        found = fingerprint(state)
    except SourceError as error:
        yield error.what
        return
    if found != part.fingerprint:
        yield (
            f"its tensors are not those of {part.name}: their fingerprint is {found[:12]}…, "
            f"recorded is {str(part.fingerprint)[:12]}"
        )
        return
    nbytes = sum(tensor.nbytes for tensor in state.values())
    counts = (
        ("tensor count", len(state), part.tensor_count),
        ("parameter count", parameters(state), part.parameter_count),
        ("bytes", nbytes, part.nbytes),
    )
    # What the layout drops belongs to a component and to no file: then the file has less.
    for name, count, recorded in counts:
        if count != recorded and (count > recorded or part.tensor_count == len(state)):
            yield f"{part.name} has {name} {count:,}, recorded is {recorded:,}"


def _failed(path: str, what: str, problems: list[str]) -> Check:
    return Check(path, what, False, {"problems": problems[:_SHOWN]}, CheckKind.TENSORS)
