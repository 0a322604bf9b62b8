"""Accounts: the manifest held against itself, before any file is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from convcore.manifest import document as manifest
from convcore.manifest.ledger import is_beside
from convcore.manifest.record import SCHEMA_VERSION, Manifest
from convcore.names import counted, few
from convcore.targets.check import Check, CheckKind

_SHOWN = 20
# What a check of a graph may have been made against, beside a file.
_CHECKPOINT = "checkpoint"


def audit_accounts(content: Manifest) -> Check:
    """Hold the parts of a manifest against one another: files, ledger, components, checks."""
    problems = [
        *_of_files(content),
        *_of_ledger(content),
        *_of_artifacts(content),
        *_of_request(content),
        *_of_components(content),
        *_of_checks(content),
    ]
    figures: dict[str, Any] = {"rows": len(content.ledger)}
    if problems:
        figures["problems"] = problems[:_SHOWN]
    return Check(manifest.NAME, "accounts", not problems, figures, CheckKind.ACCOUNTS)


def _of_files(content: Manifest) -> Iterator[str]:
    told = {place.file for row in content.ledger for place in row.places}
    leading = {(file.target, file.component) for file in content.files if file.path in told}
    for file in content.files:
        path, target, part = file.path, file.target, file.component
        if (target is None) != (part is None):
            yield f"{path} has the target {target} and the component {part}"
        elif target is not None and path not in told and (target, part) not in leading:
            yield f"no row of the ledger tells of {path}"
        elif target is None and path in told:
            yield f"{path} belongs to no target"


def _of_ledger(content: Manifest) -> Iterator[str]:
    owners = {file.path: file.target for file in content.files}
    tensors: dict[str, Counter[tuple[str, bool]]] = {}
    taken: Counter[tuple[str, str | None]] = Counter()
    for row in content.ledger:
        target, name = row.target, row.tensor
        # What lay beside the state dict may be called like something in it.
        if name is not None:
            beside = row.state == "dropped" and is_beside(row.reason)
            tensors.setdefault(target, Counter())[name, beside] += 1
        for place in row.places:
            file = place.file
            if file not in owners:
                yield f"the ledger tells of {file}, which is not listed"
            elif owners[file] != target:
                yield f"the ledger has {file} of {target}, the files of {owners[file]}"
            # An alias may point at the key that holds its bytes, and what is folded has none.
            if place.state in ("written", "cast", "constant", "fresh"):
                taken[file, place.key] += 1
    yield from (f"{file} has two rows for {key}" for (file, key), n in taken.items() if n > 1)
    for target, names in tensors.items():
        twice = [name for (name, beside), count in names.items() if count > 1 and not beside]
        if twice:
            yield f"{target} has more than one row for {few(twice)}"
    # Each target tells of every tensor of the source.
    every = set[tuple[str, bool]]().union(*tensors.values())
    for target in {target for target in owners.values() if target is not None}:
        missing = sorted(name for name, _ in every - tensors.get(target, Counter()).keys())
        if missing or not tensors.get(target):
            said = few(missing) or "any tensor"
            yield f"{target} has {counted(len(missing), 'row')} too few: it does not tell of {said}"
    specs: dict[str, set[object]] = {}
    for row in content.ledger:
        if row.tensor is not None and row.dtype is not None:
            specs.setdefault(row.tensor, set()).add((row.dtype, row.shape))
    odd = sorted(name for name, told in specs.items() if len(told) > 1)
    if odd:
        yield f"the ledger has two types or shapes of {few(odd)}"
    for target in tensors.keys() - set(owners.values()):
        yield f"the ledger tells of {target}, which has no file"
    renamed = content.renamed
    unknown = sorted(set(renamed.values()) - {name for name, _ in every})
    if unknown or len(set(renamed.values())) < len(renamed):
        yield f"names without a wrapper's prefix belong to no tensor: {few(unknown) or 'twice'}"


def _of_artifacts(content: Manifest) -> Iterator[str]:
    if content.schema_version < SCHEMA_VERSION:
        return  # the first version did not tell of any
    owners = {file.path: file.component for file in content.owned}
    told = Counter(path for each in content.artifacts for path in (each.path, *each.also))
    yield from (f"{path} is told of twice" for path, count in told.items() if count > 1)
    for path in sorted(told.keys() ^ owners.keys()):
        yield f"{path} is no artifact" if path in owners else f"the artifact {path} is not listed"
    for each in content.artifacts:
        for path in (each.path, *each.also):
            if owners.get(path, each.of) != each.of:
                yield f"{path} is an artifact of {each.of}, listed is {owners[path]}"


def _of_request(content: Manifest) -> Iterator[str]:
    if content.request is None:
        return
    asked = [content.request, *content.additions]
    try:
        named = {str(name) for each in asked for name in each["targets"]}
        layouts = {each["layout"] for each in asked} - {None, content.layout}
    except (KeyError, TypeError):
        yield "the request names no targets, or no layout"
        return
    wrote = {str(file.target) for file in content.owned}
    if named != wrote:
        yield f"asked for were {few(sorted(named))}, written are {few(sorted(wrote))}"
    if layouts:
        yield f"asked for was another layout than {content.layout}"


def _of_components(content: Manifest) -> Iterator[str]:
    names = Counter(part.name for part in content.components)
    yield from (f"the component {name} is there twice" for name, n in names.items() if n > 1)
    if not names:
        yield "it has no component"
    prints = Counter(part.fingerprint for part in content.components)
    if len(prints) == 1 and None in prints:
        yield "no component has a fingerprint, though files were made of some"


def _of_checks(content: Manifest) -> Iterator[str]:
    listed = {file.path for file in content.owned}
    made = Counter((check.file, check.check) for check in content.checks)
    yield from (f"the check {what!r} of {file} is there twice" for (file, what), n in made.items()
                if n > 1)  # fmt: skip
    for check in content.checks:
        if not check.passed:
            yield f"the check {check.check!r} of {check.file} failed when it was written"
        if check.file not in listed:
            yield f"a check tells of {check.file}, which no target wrote"
        reference = check.figures.get("reference", ())
        if not all(file == _CHECKPOINT or file in listed for file in reference):
            yield f"{check.file} was compared with what is not listed: {few(reference)}"
