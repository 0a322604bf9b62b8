"""What a source is given and what it answers: an input, a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from convcore import validators as legal
from convcore.formats.archive import Archive
from convcore.formats.builtin import FORMATS
from convcore.formats.containers import Member
from convcore.formats.format import FormatSession
from convcore.formats.location import LocalLocation, Location
from convcore.noun import Noun
from convcore.sources.names import authored

if TYPE_CHECKING:
    from convcore.sources.selection import WeightSet
    from convcore.tensors import LazyTensor


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen(eq=False, repr=False)
class Input(Noun):
    """What the user pointed at, as a source sees it.

    Attributes:
        path: A file or a folder.
        archive: The opened file; None for a folder, and for a file that no format knows.
        key: ``--key``, dotted path of the state dict to take; None to find it.
        config: ``--config`` values by name.
        allow_opaque_calls: Whether files that name code-running callables may be read.
        session: What opens further files: the formats there are, and how much a file may ask for.
        weights: ``--weights``: ``raw``, ``averaged`` or ``auto``; None where nobody chose.
        only: ``--only``: patterns for the files of a folder that are meant; empty takes all.
        member: ``--member``: which file of a container is meant.
        partial: ``--partial``: whether one shard of several may be read by itself.
    """

    path: Path
    archive: Archive | None = None
    key: str | None = None
    config: Mapping[str, str] = attrs.field(factory=dict)
    allow_opaque_calls: bool = False
    session: FormatSession | None = attrs.field(default=None, eq=False, repr=False)
    weights: str | None = None
    only: tuple[str, ...] = ()
    member: str | None = None
    partial: bool = False

    @property
    def location(self) -> Location:
        """Where it lies, for what need not know how it is reached."""
        return LocalLocation(self.path)

    def open(self, path: Path, *, member: str | None = None) -> Archive:
        """Open another file of the same input (a folder's part) under the same rules.

        Args:
            path: The file.
            member: A file in it, where it is a zip or tar archive.

        Raises:
            SourceError: It is no checkpoint, or a link that leads out of the input's folder; there
                is no such member.
        """
        folder = self.path if self.path.is_dir() else self.path.parent
        home = folder if path.is_relative_to(folder) else path.parent
        # What the user named himself may be a link to anywhere.
        location: Location = LocalLocation(path, None if path == self.path else home)
        session = self.session or FormatSession(FORMATS, allow_opaque_calls=self.allow_opaque_calls)
        if member is not None:
            location = Member(location, member, session.budgets)
        return session.open(location)


@attrs.frozen(eq=False, repr=False)
class Checkpoint(Noun):
    """Named tensors, whatever the envelope was.

    Attributes:
        path: What was read: file or folder.
        source: Name of the source that read it.
        format: Format of the bytes, see ``Archive``.
        tensors: The model's state dict, flat: name to ``LazyTensor``, wrapper prefixes stripped.
        rest: What the file holds beside the state dict (optimizer moments and so on); the tensors
            in it are never written, and accounted for in the ledger.
        hyper_parameters: What training stored of its configuration; values may be ``Opaque``.
        metadata: Everything else worth telling (epoch, versions, run name).
        sidecars: Files beside the checkpoint that belong to it: output name to path.
        evidence: Sentences saying how the file was understood.
        opaque: Qualified names met and not imported, with how often.
        renamed: Name in ``tensors`` to the key in the file, where they differ: a wrapper's prefix
            was removed, or ``--rename`` gave another name.
        spelt: Name in ``tensors`` to the one in the class that will load it, for every tensor, as
            ``--rename`` says; empty without the option.
        networks: Component to the names of its tensors, as the file tells its networks apart;
            ``statistics`` are what lies beside them and inference needs. Empty where a source
            does not tell.
        left: Place in the file to the reason, for what is not in ``tensors``.
        weight_sets: Every set of tensors of the file, taken or not, see ``--weights``.
        undecided: The places of trained weights and their averages, where nobody chose.
    """

    path: Path
    source: str
    format: str
    tensors: Mapping[str, LazyTensor] = attrs.field(eq=False, repr=False)
    rest: Any = attrs.field(default=None, eq=False, repr=False)
    hyper_parameters: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    sidecars: Mapping[str, Path] = attrs.field(factory=dict, eq=False, repr=False)
    evidence: tuple[str, ...] = ()
    opaque: Mapping[str, int] = attrs.field(factory=dict, eq=False, repr=False)
    renamed: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)
    spelt: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)
    networks: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, eq=False, repr=False)
    left: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)
    weight_sets: tuple[WeightSet, ...] = attrs.field(default=(), eq=False, repr=False)
    undecided: tuple[str, ...] = ()

    def original(self, name: str) -> str:
        """The key in the file of a tensor, wrapper prefixes included."""
        return self.renamed.get(name, name)

    def author_name(self, name: str) -> str:
        """The name of a tensor in its author's class, as ``--rename`` says or as far as known."""
        return self.spelt.get(name) or authored(name, self.original(name))


@attrs.frozen(eq=False, repr=False)
class Source(Noun):
    """One way a training code base wraps its weights.

    Attributes:
        name: As in ``--source``.
        summary: One line for ``convcore plugins``.
        read: Returns the checkpoint, or None for "not mine"; raises ``SourceError`` for "mine and
            broken".
        refines: Names of sources of which this one is a special case; it wins over them.
        runs: Given a folder, the checkpoints of several runs below it; None where this source knows
            no such folder. A folder that is itself one checkpoint has none.
    """

    name: str = attrs.field(validator=legal.name)
    summary: str
    read: Callable[[Input], Checkpoint | None] = attrs.field(
        eq=False, repr=False, validator=legal.function
    )
    refines: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    runs: Callable[[Path], Sequence[Path]] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )
