"""What a target is given and what it answers: artifacts and ledger entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from convcore import validators as legal
from convcore.formats import open_archive, walk_tensors
from convcore.layouts.layout import LayoutMatch
from convcore.noun import Noun
from convcore.options import VerifyLevel
from convcore.targets.check import Check
from convcore.targets.option import TargetOption, settled
from convcore.tensors import LazyTensor

State = Literal["written", "cast", "alias", "folded", "dropped", "fresh", "constant"]


Kind = Literal["weights", "graph", "document"]


def _options(options: Iterable[TargetOption]) -> tuple[TargetOption, ...]:
    return tuple(options)


def _packages(needs: str | Iterable[str]) -> tuple[str, ...]:
    return (needs,) if isinstance(needs, str) else tuple(needs)


@attrs.frozen(eq=False, repr=False)
class Choice(Noun):
    """What of a match the user asked for.

    Attributes:
        components: Names of the components to write, in the layout's order.
        explicit: Whether ``--component`` named them.
        verify: How much is proved after writing.
        options: Every option of the target that is asked, by name: as given, or its default.
    """

    components: tuple[str, ...]
    explicit: bool = False
    verify: VerifyLevel = "fast"
    options: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(eq=False, repr=False)
class Artifact(Noun):
    """One file that a target makes: planned before anything is written, or found in an output.

    Attributes:
        path: File name in the output folder.
        target: Name of the target.
        of: The component or graph it holds.
        names: Key in the file to the tensor's name in the checkpoint.
        nbytes: Bytes it takes, at most; an estimate for formats that fold.
        also: Names of further files that may be written with it (external data, a JSON beside it).
        plan: Whatever the target wants to remember until it writes.
        kind: Whether it holds weights, computes something, or describes; None for what the target
            makes.
        format: Of its bytes; empty for the target's name.
        variant: Which of several of one component, where there are such.
    """

    path: str
    target: str
    of: str
    names: Mapping[str, str]
    nbytes: int
    also: tuple[str, ...] = ()
    plan: Any = attrs.field(default=None, eq=False, repr=False)
    kind: Kind | None = None
    format: str = ""
    variant: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Names of all its files, its own first."""
        return self.path, *self.also


@attrs.frozen(eq=False, repr=False)
class Place(Noun):
    """Where a tensor lies: in which file, under which key (None: folded), in which state."""

    file: str
    key: str | None
    state: State


@attrs.frozen(eq=False, repr=False)
class LedgerEntry(Noun):
    """Where one tensor went, or where one written tensor comes from.

    Attributes:
        tensor: Name in the checkpoint; None for ``fresh`` and ``constant``.
        target: Name of the target.
        state: What became of it.
        file: File name in the output folder, or None when dropped.
        key: Name inside that file.
        reason: Why, for dropped, cast, folded and alias (which key holds the bytes).
        also: Further places, where one target writes it repeatedly.
        dtype: Of a dropped tensor, torch's name (``float32``), filled in by the engine; else None.
        shape: Likewise.
    """

    tensor: str | None
    target: str
    state: State
    file: str | None = None
    key: str | None = None
    reason: str | None = None
    also: tuple[Place, ...] = ()
    dtype: str | None = None
    shape: tuple[int, ...] | None = None

    @property
    def places(self) -> tuple[Place, ...]:
        """Every place of the tensor; none where it was dropped."""
        if self.file is None:
            return self.also
        return (Place(self.file, self.key, self.state), *self.also)


@attrs.frozen(eq=False, repr=False)
class Workspace(Noun):
    """The private folder in which a run is staged, and what it works on.

    Attributes:
        folder: Where to create files (exclusively, by the names planned).
        match: The recognised checkpoint.
        choice: What was asked for, of this target.
        written: Component to the weight file of this run that holds it, by whichever target: its
            name, and its tensors by their names in the checkpoint. None where there is none.
        progress: Called with (bytes done, bytes in all) from time to time.
        notes: Sentences that targets add to the evidence while they work.
    """

    folder: Path
    match: LayoutMatch = attrs.field(repr=False)
    choice: Choice
    written: Callable[[str], tuple[str, Mapping[str, LazyTensor]] | None] = attrs.field(
        default=lambda component: None, eq=False, repr=False
    )
    progress: Callable[[int, int], None] = attrs.field(
        default=lambda done, total: None, eq=False, repr=False
    )
    notes: list[str] = attrs.field(factory=list, eq=False, repr=False)


@attrs.frozen(eq=False, repr=False)
class Reopened(Noun):
    """An output that stands, read back: what one target's files in it are held against.

    Attributes:
        folder: Where it lies.
        layout: Name of its layout; None where nobody knew one.
        options: Every option of the target: as ``verify`` was given it, or its default.
        rows: The ledger's entries for the target's files, each tensor under its name in the source.
        tensors: What the weight files beside them hold, by names in the source.
        checks: What was compared when they were written.
        match: What layout, weight files and recorded settings make; None where they make none.
        unable: Why nothing can be computed from it, or None.
        sound: Whether its files are those that were written.
    """

    folder: Path
    layout: str | None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    rows: Sequence[LedgerEntry] = attrs.field(default=(), repr=False)
    tensors: Mapping[str, LazyTensor] = attrs.field(factory=dict, repr=False)
    checks: Sequence[Check] = attrs.field(default=(), repr=False)
    match: LayoutMatch | None = attrs.field(default=None, repr=False)
    unable: str | None = None
    sound: bool = True


def reopen(folder: Path, artifact: Artifact) -> dict[str, LazyTensor]:
    """Return what any reader of checkpoints finds in a file: key to tensor.

    Raises:
        SourceError: It is damaged, or no checkpoint.
    """
    return dict(walk_tensors(open_archive(folder / artifact.path).tree))


@attrs.frozen(eq=False, repr=False)
class Target(Noun):
    """One kind of output.

    Attributes:
        name: As in ``--to``.
        summary: One line for ``convcore plugins``.
        plan: Decides every file, refuses whatever it would have to refuse later.
        write: Writes all planned files, returns a ledger entry for every tensor it took up.
        check: Compares what was written with where it came from.
        reopen: Reads a file back: folder and artifact to key and tensor. ``verify``, ``--add``,
            ``diff`` and ``bench`` read by it; None takes what any reader of checkpoints finds.
        recheck: What ``verify`` compares of its files, beside the tensors that ``reopen`` gives.
        needs: Packages imported late; a missing one is an error before anything is written.
        accepts: Returns why a match cannot be written, or None when it can.
        options: What it can be told.
        needs_layout: Whether it has to know what computes the weights, so that a model of no known
            layout is refused.
        kind: What its files are, unless an artifact says otherwise.
        loads: Python statements by which the inference script reads the weights in ``HERE / file``
            (``return`` a dictionary of torch tensors); empty for what ``torch.load`` and
            safetensors read, None for what no script reads.
    """

    name: str = attrs.field(validator=legal.name)
    summary: str
    plan: Callable[[LayoutMatch, Choice], Iterable[Artifact]] = attrs.field(
        eq=False, repr=False, validator=legal.function
    )
    write: Callable[[Sequence[Artifact], Workspace], Iterable[LedgerEntry]] = attrs.field(
        eq=False, repr=False, validator=legal.function
    )
    check: Callable[[Sequence[Artifact], Workspace], Iterable[Check]] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )
    reopen: Callable[[Path, Artifact], Mapping[str, LazyTensor]] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )
    recheck: Callable[[Sequence[Artifact], Reopened], Iterable[Check]] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )
    needs: tuple[str, ...] = attrs.field(default=(), converter=_packages)
    accepts: Callable[[LayoutMatch], str | None] = attrs.field(
        default=lambda match: None, eq=False, repr=False
    )
    options: tuple[TargetOption, ...] = attrs.field(
        default=(), converter=_options, validator=legal.series_of(lambda: TargetOption)
    )
    needs_layout: bool = False
    kind: Kind = "weights"
    loads: str | None = None

    def settled(
        self, config: Mapping[str, str], flags: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the value of each option.

        Args:
            config: What ``--config`` gave, of this target and of others.
            flags: Values that came as flags of an option's name.

        Raises:
            UsageError: A text has no legal value, or an option was given twice.
        """
        return settled(self.name, self.options, config, flags or {})

    def tensors(self, folder: Path, artifact: Artifact) -> Mapping[str, LazyTensor]:
        """Return what a file holds, by ``reopen``: key to tensor.

        Raises:
            SourceError: It is damaged; or a format of its own, which nobody else reads.
        """
        return (self.reopen or reopen)(folder, artifact)

    def plans(self, match: LayoutMatch, choice: Choice) -> tuple[Artifact, ...]:
        """Return what ``plan`` decides, kind and format said."""
        return tuple(
            attrs.evolve(each, kind=each.kind or self.kind, format=each.format or self.name)
            for each in self.plan(match, choice)
        )
