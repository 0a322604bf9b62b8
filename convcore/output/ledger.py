"""The ledger: for each target, every tensor of the source in exactly one state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

from convcore.archive import walk_tensors
from convcore.errors import TargetError
from convcore.model import LayoutMatch
from convcore.target import Choice, LedgerEntry, Output

# Why tensors beside the state dict are not part of the model, by the key they lie under.
_BESIDE = (
    ("optimizer", "optimizer state"),
    ("optim", "optimizer state"),
    ("lr_scheduler", "scheduler state"),
    ("scheduler", "scheduler state"),
    ("hyper_parameters", "hyper-parameter, not part of the state dict"),
    ("callbacks", "callback state"),
)


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
    return [
        *(
            entries.get(name) or LedgerEntry(name, target, "dropped", reason=reasons[name])
            for name in tensors
        ),
        *added,
        *(
            LedgerEntry(name, target, "dropped", reason=_beside(name))
            for name, _ in walk_tensors(match.checkpoint.rest, file=match.checkpoint.path)
        ),
    ]


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
    return next((why for start, why in _BESIDE if top.startswith(start)), "beside the state dict")


def _unsound(target: str, name: str) -> TargetError:
    return TargetError(
        f"the ledger of {target} does not add up at the tensor {name}",
        remedy="this is a fault of the target; report it to its plugin's author",
    )


def as_planned(target: str, planned: Iterable[Output], folder: Path, before: Set[str]) -> None:
    """Hold what a target wrote against what it planned.

    Args:
        target: Its name.
        planned: Its outputs.
        folder: Where it wrote.
        before: Names that were there before it did.

    Raises:
        TargetError: A planned file is not there, or one is that nobody planned.
    """
    outputs = list(planned)
    found = {path.name for path in folder.iterdir()} - before
    expected = {output.path for output in outputs}
    if expected - found:
        raise _unplanned(target, f"wrote no {sorted(expected - found)[0]}, which it had planned")
    foreign = found - expected - {name for output in outputs for name in output.also}
    if foreign:
        raise _unplanned(target, f"wrote {sorted(foreign)[0]}, which it had not planned")


def _unplanned(target: str, what: str) -> TargetError:
    return TargetError(
        f"the target {target} {what}",
        remedy="this is a fault of the target; report it to its plugin's author",
    )


def joined(
    kept: Iterable[dict[str, object]], added: Iterable[dict[str, object]]
) -> list[dict[str, object]]:
    """Join the rows of an earlier run with those of this one.

    What this run left out and the earlier one wrote, with the same target, is written.
    """
    rows = list(kept)
    there = {(row["target"], row["tensor"]) for row in rows}
    rows += [
        row
        for row in added
        if row["state"] != "dropped" or (row["target"], row["tensor"]) not in there
    ]
    return rows


def as_rows(
    entries: Iterable[LedgerEntry], originals: Mapping[str, str]
) -> list[dict[str, object]]:
    """Return the ledger as the manifest's rows, tensors under the names they have in the file."""
    rows = []
    for entry in entries:
        name = entry.tensor
        row: dict[str, object] = {
            "tensor": originals.get(name, name) if name is not None else None,
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
