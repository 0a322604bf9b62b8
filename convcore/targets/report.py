"""What a run will do, and what it did: the nouns that people, scripts and plugins are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.layouts.layout import LayoutMatch
from convcore.noun import Noun
from convcore.targets.target import Check, Choice, Output, Target


@attrs.frozen(eq=False, repr=False)
class Step(Noun):
    """One target and the files it will write."""

    target: Target
    outputs: tuple[Output, ...]


@attrs.frozen(eq=False, repr=False)
class Plan(Noun):
    """What a run will do.

    Attributes:
        match: The recognised checkpoint.
        choice: What of it was asked for.
        steps: One per target.
        documents: JSON files to write beside: name to content.
    """

    match: LayoutMatch
    choice: Choice
    steps: tuple[Step, ...]
    documents: Mapping[str, object] = attrs.field(factory=dict, repr=False)

    @property
    def names(self) -> frozenset[str]:
        """Names of all files it writes, but for the manifest and the example."""
        outputs = [output for step in self.steps for output in step.outputs]
        written = {name for output in outputs for name in (output.path, *output.also)}
        return frozenset(written | self.documents.keys() | self.match.sidecars.keys())

    @property
    def nbytes(self) -> int:
        """Bytes all planned files take, at most."""
        return sum(output.nbytes for step in self.steps for output in step.outputs)


@attrs.frozen(eq=False, repr=False)
class WrittenFile(Noun):
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


@attrs.frozen(eq=False, repr=False)
class Report(Noun):
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
