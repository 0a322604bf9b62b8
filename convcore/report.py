"""What a run did: the noun that people, scripts and plugins are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.plan import Plan
from convcore.target import Check


@attrs.frozen
class WrittenFile:
    """One file of an output folder.

    Attributes:
        path: File name.
        component: The component or graph it holds; None for documents and sidecars.
        target: The target that wrote it; None for documents and sidecars.
        nbytes: Size in bytes.
        sha256: Hexadecimal SHA-256.
    """

    path: str
    component: str | None
    target: str | None
    nbytes: int
    sha256: str


@attrs.frozen
class Report:
    """A finished conversion, or with ``--dry-run`` a planned one.

    Attributes:
        output: The folder that stands now.
        plan: What was decided.
        files: What was written.
        checks: What was compared.
        manifest: The content of ``manifest.json``.
        dry_run: Whether nothing was written.
    """

    output: Path
    plan: Plan = attrs.field(repr=False)
    files: tuple[WrittenFile, ...] = ()
    checks: tuple[Check, ...] = ()
    manifest: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    dry_run: bool = False
