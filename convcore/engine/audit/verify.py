"""``verify``: is an output folder still what was written, and does it still compute the same.

Whoever can change a file can mend its digest, so everything that the manifest says and that
something else in the folder says too is held against that. What nothing else says (where the source
came from, the evidence, package versions) only a signature could prove; SECURITY.md lists it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.engine.audit.accounts import audit_accounts
from convcore.engine.audit.holdings import Holding, audit_holdings, open_holdings
from convcore.engine.audit.inventory import take_inventory
from convcore.engine.audit.rederived import audit_model
from convcore.engine.plan import SPLIT
from convcore.engine.reopened import artifacts, reopen, rows_of
from convcore.errors import UsageError, VerificationError
from convcore.host.registry import Registry
from convcore.manifest import document as manifest
from convcore.manifest.record import Manifest
from convcore.targets.check import Check, CheckKind, not_made
from convcore.targets.target import Reopened, Target


def verify(
    folder: Path,
    registry: Registry,
    *,
    atol: float | None = None,
    rtol: float | None = None,
    allow_nan: bool = False,
) -> list[Check]:
    """Hold an output folder against its manifest, and each part of both against the others.

    Every file is hashed, once; where all are what the manifest lists, its ledger, components and
    settings are held against the weight files, and every target compares the rest: a graph is run
    against the network that these weights make.

    Args:
        folder: What ``convcore convert`` wrote.
        registry: Where its layout and targets are looked up.
        atol: Absolute parity tolerance; None takes the default, never the manifest's.
        rtol: Relative parity tolerance, likewise.
        allow_nan: Let an output pass that is NaN for every input; it is not proved then.

    Returns:
        Checks that passed or failed; those that could not be made say why in ``reason``.

    Raises:
        UsageError: The folder is no output of convcore, or nothing in it heeds what was given.
        SourceError: Its manifest is damaged, or has settings that its layout cannot work with.
    """
    content, targets = manifest.load(folder), registry.targets
    given = {"atol": atol, "rtol": rtol, "allow_nan": allow_nan}
    _heeded(folder, content, targets, given)
    output = Reopened(folder, content.layout)
    checks = [*take_inventory(folder, content), audit_accounts(content)]
    holdings: list[Holding] = []
    if all(check.passed for check in checks):
        holdings = open_holdings(folder, content, targets)
        checks += audit_holdings(content, holdings)
    if not all(check.passed for check in checks):
        reason = "what lies there is not what was written"
        output = attrs.evolve(output, unable=reason, sound=False)
        return [*checks, *_rechecked(output, content, targets, given)]
    tensors = {name: t for each in reversed(holdings) for name, t in each.named.items()}
    output = attrs.evolve(output, tensors=tensors)
    if output.layout not in registry.layouts and output.layout not in (None, SPLIT):
        reason = f"the layout {output.layout} is not installed"
        output = attrs.evolve(output, unable=reason)
        unsettled = "settings and components"
        checks.append(not_made(manifest.NAME, unsettled, CheckKind.COMPONENTS, reason))
    else:
        output = attrs.evolve(output, match=reopen(folder, registry, content))
        if output.match is not None and output.layout not in (None, SPLIT):
            checks += audit_model(folder, content, output.match, holdings, registry)
    return [*checks, *_rechecked(output, content, targets, given)]


def _heeded(
    folder: Path, content: Manifest, targets: Mapping[str, Target], given: Mapping[str, Any]
) -> None:
    """Refuse a tolerance where nothing that lies there has one."""
    made = {file.target for file in content.owned if file.target is not None}
    if not made <= targets.keys():
        return  # what a target that is not installed would heed is not known
    known = {option.name for name in made for option in targets[name].options}
    idle = [name for name, value in given.items() if value not in (None, False)]
    idle = [name for name in idle if name not in known]
    if idle:
        raise UsageError(
            f"--{idle[0].replace('_', '-')} concerns nothing in {folder}",
            seen=[f"written for: {', '.join(sorted(made)) or 'nothing'}"],
            remedy="leave it out",
        )


def _rechecked(
    output: Reopened,
    content: Manifest,
    targets: Mapping[str, Target],
    given: Mapping[str, Any],
) -> Iterator[Check]:
    """Let every target compare what it made with the rest of the output."""
    made = artifacts(content, targets)
    rows = rows_of(content)
    for name in dict.fromkeys(artifact.target for artifact in made):
        target = targets.get(name)
        if target is None or target.recheck is None:
            continue
        own = [artifact for artifact in made if artifact.target == name]
        paths = {artifact.path for artifact in own}
        told = attrs.evolve(
            output,
            options=target.settled({}, given),
            rows=[row for artifact in own for row in rows.get(artifact.path, ())],
            checks=[check for check in content.checks if check.file in paths],
        )
        try:
            yield from target.recheck(own, told)
        except VerificationError as error:
            yield from (Check(path, "recheck", False, {"problems": [error.what]}) for path in paths)
