"""What a run will do, and what it did: the nouns that people, scripts and plugins are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from convcore import validators as legal
from convcore.errors import UsageError
from convcore.layouts.layout import LayoutMatch
from convcore.noun import Noun
from convcore.targets.check import Check
from convcore.targets.target import Artifact, Choice, Target
from convcore.tensors import LazyTensor

if TYPE_CHECKING:
    from convcore.manifest.record import Manifest


@attrs.frozen(eq=False, repr=False)
class Step(Noun):
    """One target, the files it will write, and what was asked of it."""

    target: Target
    artifacts: tuple[Artifact, ...]
    choice: Choice


@attrs.frozen(eq=False, repr=False)
class Plan(Noun):
    """What a run will do.

    Attributes:
        match: The recognised checkpoint.
        choice: What of it was asked for, the targets' options aside.
        steps: One per target.
        documents: JSON files to write beside: name to content.
    """

    match: LayoutMatch
    choice: Choice
    steps: tuple[Step, ...]
    documents: Mapping[str, object] = attrs.field(factory=dict, repr=False)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All files that targets will write."""
        return tuple(artifact for step in self.steps for artifact in step.artifacts)

    def written(self, folder: Path, component: str) -> tuple[str, dict[str, LazyTensor]] | None:
        """Open what was written for a component, so that what is proved is what was written.

        Returns:
            The file's name and its tensors under their names in the checkpoint; None where no step
            writes a weight file of this component that its target reads back.
        """
        for step in (step for step in self.steps if step.target.reopen is not None):
            for artifact in step.artifacts:
                if artifact.kind == "weights" and artifact.of == component:
                    found = step.target.tensors(folder, artifact)
                    names = artifact.names.items()
                    return artifact.path, {name: found[key] for key, name in names if key in found}
        return None

    @property
    def names(self) -> frozenset[str]:
        """Names of all files it writes, but for the manifest and the example."""
        written = {path for artifact in self.artifacts for path in artifact.paths}
        return frozenset(written | self.documents.keys() | self.match.sidecars.keys())

    @property
    def nbytes(self) -> int:
        """Bytes all planned files take, at most."""
        return sum(artifact.nbytes for artifact in self.artifacts)


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

    path: str = attrs.field(validator=legal.file_name)
    component: str | None
    target: str | None
    nbytes: int
    sha256: str = attrs.field(validator=legal.sha256)


@attrs.frozen(eq=False, repr=False)
class Report(Noun):
    """A finished conversion, or with ``--dry-run`` a planned one.

    It pickles without its plan, which holds lazy tensors and functions of plugins: where it is
    unpickled, the plan is made again, from the input, when somebody asks for it.

    Attributes:
        output: The folder that stands now.
        files: What was written.
        checks: What was compared.
        manifest: What ``manifest.json`` says; None where nothing was written.
        dry_run: Whether nothing was written.
        again: Makes the plan again; None where nobody said how.
    """

    output: Path
    _plan: Plan | None = attrs.field(eq=False, repr=False)
    files: tuple[WrittenFile, ...] = ()
    checks: tuple[Check, ...] = ()
    manifest: Manifest | None = attrs.field(default=None, repr=False)
    dry_run: bool = False
    again: Callable[[], Plan] | None = attrs.field(default=None, eq=False, repr=False)

    @cached_property
    def plan(self) -> Plan:
        """What was decided.

        Raises:
            ConvcoreError: The report was unpickled, and its input is not what it was.
        """
        if self._plan is not None:
            return self._plan
        if self.again is None:
            raise UsageError(
                f"what was planned for {self.output} is not known any more",
                remedy="pickle reports of convcore.convert, or of a Session",
            )
        return self.again()

    def __reduce__(self) -> tuple[Any, ...]:
        return _without_plan, (
            self.output, self.files, self.checks, self.manifest, self.dry_run, self.again
        )  # fmt: skip


def _without_plan(output: Path, *more: Any) -> Report:
    return Report(output, None, *more)
