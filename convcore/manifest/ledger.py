"""The ledger: for each target, every tensor of the source in exactly one state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import attrs

from convcore.errors import TargetError
from convcore.formats import walk_tensors
from convcore.layouts.layout import LayoutMatch
from convcore.sources.source import Checkpoint
from convcore.sources.vocabulary import says_why
from convcore.targets.target import Artifact, Choice, LedgerEntry, State

# Why tensors beside the state dict are not part of the model, by the key they lie under.
_BESIDE = (
    ("optimizer", "optimizer state"),
    ("optim", "optimizer state"),
    ("lr_scheduler", "scheduler state"),
    ("scheduler", "scheduler state"),
    ("hyper_parameters", "hyper-parameter, not part of the state dict"),
    ("callbacks", "callback state"),
)
_OTHERWISE = "beside the state dict"
_REASONS = frozenset({_OTHERWISE, *(reason for _, reason in _BESIDE)})


def is_beside(reason: str | None) -> bool:
    """Whether a row's reason says that its tensor, or entry, is no part of the model at all."""
    return reason is not None and (reason in _REASONS or says_why(reason))


def complete(
    target: str, written: Iterable[LedgerEntry], match: LayoutMatch, choice: Choice
) -> list[LedgerEntry]:
    """Join what a target took up with the reasons for what it left.

    Raises:
        TargetError: A tensor is unaccounted for, or the target names one that does not exist.
    """
    tensors = match.checkpoint.tensors
    entries: dict[str, LedgerEntry] = {}
    added = []
    for entry in written:
        if entry.tensor is None:
            added.append(entry)
        elif entry.tensor not in tensors or entry.tensor in entries:
            raise _unsound(target, entry.tensor)
        else:
            entries[entry.tensor] = entry
    reasons = dict(_left(match, choice))
    lost = [name for name in tensors if name not in entries and name not in reasons]
    if lost:
        raise _unsound(target, lost[0])
    taken = (
        entries.get(name) or LedgerEntry(name, target, "dropped", reason=reasons[name])
        for name in tensors
    )
    return [
        # Under the names they have in the file.
        *(attrs.evolve(e, tensor=match.checkpoint.original(e.tensor or "")) for e in taken),
        *added,
        *(
            LedgerEntry(name, target, "dropped", reason=reason)
            for name, reason in _not_taken(match.checkpoint).items()
        ),
    ]


def _not_taken(checkpoint: Checkpoint) -> dict[str, str]:
    """What the file holds beside the model, entries without bytes included, with why."""
    rest = walk_tensors(checkpoint.rest, file=checkpoint.path)
    return {name: _beside(name) for name, _ in rest} | dict(checkpoint.left)


def _left(match: LayoutMatch, choice: Choice) -> Iterator[tuple[str, str]]:
    # What was chosen is the target's own to account for: a tensor that it forgot is an error.
    roles = {part.name: part.role for part in match.layout.components}
    for component, state in match.states.items():
        for name in state:
            if name in match.dropped:
                yield name, match.dropped[name]
            elif component not in choice.components:
                by_role = roles[component] == "training" and not choice.explicit
                yield name, "role: training" if by_role else "--component"


def _beside(name: str) -> str:
    top = name.partition(".")[0].lower()
    return next((why for start, why in _BESIDE if top.startswith(start)), _OTHERWISE)


def _unsound(target: str, name: str) -> TargetError:
    return TargetError(
        f"the ledger of {target} does not add up at the tensor {name}",
        remedy="this is a fault of the target; report it to its plugin's author",
    )


def as_planned(target: str, planned: Iterable[Artifact], folder: Path, before: Set[str]) -> None:
    """Hold what a target wrote against what it planned.

    Args:
        target: Its name.
        planned: Its artifacts.
        folder: Where it wrote.
        before: Names that were there before it did.

    Raises:
        TargetError: A planned file is not there, or one is that nobody planned.
    """
    artifacts = list(planned)
    found = {path.name for path in folder.iterdir()} - before
    expected = {artifact.path for artifact in artifacts}
    if expected - found:
        raise _unplanned(target, f"wrote no {sorted(expected - found)[0]}, which it had planned")
    foreign = found - expected - {name for artifact in artifacts for name in artifact.also}
    if foreign:
        raise _unplanned(target, f"wrote {sorted(foreign)[0]}, which it had not planned")


def _unplanned(target: str, what: str) -> TargetError:
    return TargetError(
        f"the target {target} {what}",
        remedy="this is a fault of the target; report it to its plugin's author",
    )


def kept_rows(
    rows: Iterable[Mapping[str, Any]], renewed: Set[str], files: Set[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of an earlier run that still hold, as far as they do.

    Args:
        rows: Its ledger.
        renewed: Targets of this run, which account for every tensor anew.
        files: Names of the files that are kept.
    """
    for row in rows:
        if row["target"] not in renewed:
            yield dict(row)
            continue
        first = {key: row[key] for key in ("file", "key", "state")}
        kept = [place for place in (first, *row.get("also", ())) if place["file"] in files]
        if kept:
            leading, *also = kept
            reason = row["reason"] if leading == first else None
            key = leading["key"] or None
            told = {k: v for k, v in row.items() if k != "also"}
            told |= {**leading, "key": key, "reason": reason}
            yield {**told, "also": also} if also else told


def places(row: Mapping[str, Any]) -> Iterator[tuple[str, str | None, State]]:
    """Yield where a row of the ledger says that its tensor lies: (file, key, state)."""
    if row["file"] is not None:
        yield row["file"], row["key"], row["state"]
    for place in row.get("also", ()):
        yield place["file"], place["key"], place["state"]


def joined(kept: Iterable[dict[str, Any]], added: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the rows of an earlier run with those of this one.

    What this run left out and the earlier one wrote, with the same target, is written; what both
    wrote lies in the files of both.
    """
    rows = list(kept)
    there = {(row["target"], row["tensor"]): row for row in rows if row["tensor"] is not None}
    for row in added:
        known = there.get((row["target"], row["tensor"]))
        if known is None:
            rows.append(row)
        elif row["state"] != "dropped":
            place = {"file": row["file"], "key": row["key"] or "", "state": row["state"]}
            known["also"] = [*known.get("also", ()), place, *row.get("also", ())]
    return rows


def as_rows(entries: Iterable[LedgerEntry]) -> list[dict[str, object]]:
    """Return the ledger as the manifest's rows."""
    rows = []
    for entry in entries:
        row: dict[str, object] = {
            "tensor": entry.tensor,
            "target": entry.target,
            "state": entry.state,
            "file": entry.file,
            "key": entry.key,
            "reason": entry.reason,
        }
        if entry.also:
            row["also"] = [dict(place) for place in entry.also]
        rows.append(row)
    return rows
