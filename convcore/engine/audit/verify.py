"""``verify``: is an output folder still what was written, and does it still compute the same.

Whoever can change a file can mend its digest, so everything that the manifest says and that
something else in the folder says too is held against that. What nothing else says (where the source
came from, the evidence, package versions) only a signature could prove; SECURITY.md lists it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convcore.engine.audit.accounts import audit_accounts
from convcore.engine.audit.graphs import audit_parity, not_run, uncomparable
from convcore.engine.audit.holdings import Holding, audit_holdings, open_holdings
from convcore.engine.audit.initializers import audit_initializers, graph_files
from convcore.engine.audit.inventory import take_inventory
from convcore.engine.audit.rederived import audit_model
from convcore.engine.audit.reopened import reopen
from convcore.engine.plan import SPLIT
from convcore.host.registry import Registry
from convcore.manifest import document as manifest
from convcore.targets.target import Check


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
    settings are held against the weight files, and every graph is run against the network that
    these weights make.

    Args:
        folder: What ``convcore convert`` wrote.
        registry: Where its layout and targets are looked up.
        atol: Absolute parity tolerance; None takes the default, never the manifest's.
        rtol: Relative parity tolerance, likewise.
        allow_nan: Let an output pass that is NaN for every input; it is not proved then.

    Returns:
        Checks that passed or failed; those that could not be made say why in ``reason``.

    Raises:
        UsageError: The folder is no output of convcore.
        SourceError: Its manifest is damaged, or has settings that its layout cannot work with.
    """
    content = manifest.load(folder)
    checks = [*take_inventory(folder, content), audit_accounts(content)]
    holdings: list[Holding] = []
    if all(check.passed for check in checks):
        holdings = open_holdings(folder, content)
        checks += audit_holdings(content, holdings)
    if not all(check.passed for check in checks):
        reason = "what lies there is not what was written"
        return [*checks, *(not_run(file, reason) for file in graph_files(content))]
    return [*checks, *_model(folder, content, registry, holdings, atol, rtol, allow_nan=allow_nan)]


def _model(
    folder: Path,
    content: Mapping[str, Any],
    registry: Registry,
    holdings: list[Holding],
    atol: float | None,
    rtol: float | None,
    *,
    allow_nan: bool,
) -> Iterator[Check]:
    missing = uncomparable() if graph_files(content) else None
    if graph_files(content) and missing is None:
        tensors = {name: t for each in reversed(holdings) for name, t in each.named.items()}
        yield from audit_initializers(folder, content, tensors)
    layout = content["layout"]
    if layout not in registry.layouts and layout not in (None, SPLIT):
        reason = f"the layout {layout} is not installed"
        yield Check(manifest.NAME, "settings and components not checked", True, {"reason": reason})
        yield from (not_run(file, reason) for file in graph_files(content))
        return
    match = reopen(folder, registry, content)
    if layout not in (None, SPLIT):
        yield from audit_model(folder, content, match, holdings, registry)
    if missing is not None:
        yield from (not_run(file, missing) for file in graph_files(content))
        return
    yield from audit_parity(folder, content, match, atol, rtol, allow_nan=allow_nan)
