"""The record of an output folder, as classes: what ``manifest.json`` says, and nothing else.

A field is called in the file as it is here, but for ``nbytes``, which is ``bytes`` there. The file
``manifest.schema.json`` says the same to other languages; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from convcore import validators as legal
from convcore.layouts.layout import Setting
from convcore.manifest.parts import ComponentRecord
from convcore.noun import Noun
from convcore.targets.check import Check
from convcore.targets.report import WrittenFile
from convcore.targets.target import Kind, LedgerEntry

SCHEMA_VERSION = 2


@attrs.frozen(eq=False, repr=False)
class SourceRecord(Noun):
    """The input.

    Attributes:
        name: Its file name, without folders.
        nbytes: Its size; of a folder, that of all its files.
        sha256: On request, else None; of a folder, that of its files as ``sha256sum`` lists them,
            sorted by name.
        format: Of its bytes.
        source: Name of the source that read it.
    """

    name: str
    nbytes: int
    sha256: str | None = attrs.field(validator=legal.sha256)
    format: str
    source: str


@attrs.frozen(eq=False, repr=False)
class WeightSetRecord(Noun):
    """One set of weights that the checkpoint holds, whether it was taken or not.

    Attributes:
        path: Where in the file.
        kind: What it is.
        tensors: How many.
        nbytes: Their bytes.
        of: The path of the set that it is an average of, where it is one.
    """

    path: str
    kind: Literal["raw", "averaged", "statistics", "training", "other"]
    tensors: int
    nbytes: int
    of: str | None


@attrs.frozen(eq=False, repr=False)
class ArtifactRecord(Noun):
    """One thing that a target made: a file, and what it is.

    Attributes:
        path: The file that has to be opened.
        kind: What it holds; None where that is not known.
        of: The component or graph.
        variant: Which of several of one kind; empty where there is one.
        format: Of the file.
        also: Further files that belong to it, such as external data.
    """

    path: str = attrs.field(validator=legal.file_name)
    kind: Kind | None
    of: str
    variant: str
    format: str
    also: tuple[str, ...] = attrs.field(validator=legal.file_names)


@attrs.frozen(eq=False, repr=False)
class Manifest(Noun):
    """What an output folder holds, where it came from and how it was proved.

    Attributes:
        convcore_version: Which wrote it.
        source: The input.
        layout: Name of the model family; None where none was recognised.
        evidence: Why, in sentences.
        settings: Configuration values, each with its origin.
        sizes: Solved from the shapes.
        renamed: Name without a wrapper's prefix to the key in the file.
        spelt: Name to the one in the class that will load it, where ``--rename`` gave any.
        statistics: Names of tensors beside the networks that a layout knows, such as mean and std.
        weight_sets: Sets of weights that the checkpoint holds.
        components: Networks that the checkpoint holds.
        request: The options of the conversion, no paths; None where the first version wrote it.
        additions: Those of each ``--add`` since, in order.
        files: All files of the folder but the manifest and ``strangers``.
        artifacts: What targets made, by file.
        strangers: Names of files that somebody else put there and that were kept.
        ledger: For each target, every tensor of the source in exactly one state; tensors have the
            names they have in the file.
        checks: What was compared.
        opaque: Classes that the input names and that were not imported, with how often.
        versions: Of the packages that targets used.
        schema_version: Of the file.
    """

    convcore_version: str = attrs.field(validator=legal.filled)
    source: SourceRecord
    layout: str | None = attrs.field(validator=legal.filled)
    evidence: tuple[str, ...]
    settings: Mapping[str, Setting]
    sizes: Mapping[str, int]
    renamed: Mapping[str, str]
    spelt: Mapping[str, str]
    statistics: tuple[str, ...]
    weight_sets: tuple[WeightSetRecord, ...]
    components: tuple[ComponentRecord, ...]
    request: Mapping[str, Any] | None
    additions: tuple[Mapping[str, Any], ...]
    files: tuple[WrittenFile, ...]
    artifacts: tuple[ArtifactRecord, ...]
    strangers: tuple[str, ...] = attrs.field(validator=legal.file_names)
    ledger: tuple[LedgerEntry, ...]
    checks: tuple[Check, ...]
    opaque: Mapping[str, int]
    versions: Mapping[str, str]
    schema_version: int = SCHEMA_VERSION

    @property
    def names(self) -> dict[str, str]:
        """Key in the source to name without a wrapper's prefix, where the two differ."""
        return {original: name for name, original in self.renamed.items()}

    @property
    def owned(self) -> tuple[WrittenFile, ...]:
        """The files that targets wrote: documents and sidecars left out."""
        return tuple(file for file in self.files if file.target is not None)
