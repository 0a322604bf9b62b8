"""The ledger: for each target, every tensor of the source in exactly one state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import attrs

from convcore.errors import TargetError
from convcore.formats import walk_tensors
from convcore.layouts.layout import LayoutMatch
from convcore.manifest.rows import contradiction
from convcore.sources.source import Checkpoint
from convcore.sources.vocabulary import says_why
from convcore.targets.target import Artifact, Choice, LedgerEntry
from convcore.tensors import LazyTensor

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
        if contradiction(entry):
            raise _unsound(target, entry.tensor or entry.key or "")
        if entry.tensor is None:
            added.append(entry)
        elif entry.tensor not in tensors or entry.tensor in entries:
            raise _unsound(target, entry.tensor)
        elif entry.state == "dropped":
            reason = entry.reason or ""
            entries[entry.tensor] = _dropped(target, entry.tensor, reason, tensors[entry.tensor])
        else:
            entries[entry.tensor] = entry
    reasons = dict(_left(match, choice))
    lost = [name for name in tensors if name not in entries and name not in reasons]
    if lost:
        raise _unsound(target, lost[0])
    return [
        *(
            _recorded(entries.get(name), match.checkpoint.original(name))
            or _dropped(target, match.checkpoint.original(name), reasons[name], tensor)
            for name, tensor in tensors.items()
        ),
        *added,
        *(_dropped(target, *each) for each in _not_taken(match.checkpoint)),
    ]


def _recorded(entry: LedgerEntry | None, name: str) -> LedgerEntry | None:
    """Return an entry under the name that its tensor has in the file."""
    return entry if entry is None or entry.tensor == name else attrs.evolve(entry, tensor=name)


def _dropped(target: str, name: str, reason: str, tensor: LazyTensor | None) -> LedgerEntry:
    # Of what lies in no file nobody could tell its type and shape otherwise.
    dtype, shape = (None, None) if tensor is None else (tensor.dtype, tensor.shape)
    return LedgerEntry(name, target, "dropped", reason=reason, dtype=dtype, shape=shape)


def _not_taken(checkpoint: Checkpoint) -> Iterator[tuple[str, str, LazyTensor | None]]:
    """Yield what the file holds beside the model, entries without bytes included, with why."""
    rest = dict(walk_tensors(checkpoint.rest, file=checkpoint.path))
    for name in {**rest, **checkpoint.left}:
        yield name, checkpoint.left.get(name) or _beside(name), rest.get(name)


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
    rows: Iterable[LedgerEntry], renewed: Set[str], files: Set[str]
) -> Iterator[LedgerEntry]:
    """Yield the rows of an earlier run that still hold, as far as they do.

    Args:
        rows: Its ledger.
        renewed: Targets of this run, which account for every tensor anew.
        files: Names of the files that are kept.
    """
    for row in rows:
        if row.target not in renewed:
            yield row
            continue
        kept = [place for place in row.places if place.file in files]
        if kept:
            leading, *also = kept
            yield attrs.evolve(
                row,
                file=leading.file,
                key=leading.key,
                state=leading.state,
                reason=row.reason if leading == row.places[0] else None,
                also=tuple(also),
            )


def joined(kept: Iterable[LedgerEntry], added: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Join the rows of an earlier run with those of this one.

    What this run left out and the earlier one wrote, with the same target, is written; what both
    wrote lies in the files of both.
    """
    rows = list(kept)
    there = {(row.target, row.tensor): n for n, row in enumerate(rows) if row.tensor is not None}
    for row in added:
        known = None if row.tensor is None else there.get((row.target, row.tensor))
        if known is None:
            rows.append(row)
        elif row.state != "dropped":
            rows[known] = attrs.evolve(rows[known], also=(*rows[known].also, *row.places))
    return rows
