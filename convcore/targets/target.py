"""What a target is given and what it answers: outputs, ledger entries, checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from convcore import validators as legal
from convcore.layouts.layout import LayoutMatch
from convcore.noun import Noun
from convcore.options import VerifyLevel

State = Literal["written", "cast", "alias", "folded", "dropped", "fresh", "constant"]


def _packages(needs: str | Iterable[str]) -> tuple[str, ...]:
    return (needs,) if isinstance(needs, str) else tuple(needs)


def _fields(heeds: str | Iterable[str] | None) -> tuple[str, ...] | None:
    return None if heeds is None else _packages(heeds)


@attrs.frozen(eq=False, repr=False)
class Choice(Noun):
    """What of a match the user asked for.

    Attributes:
        components: Names of the components to write, in the layout's order.
        explicit: Whether ``--component`` named them.
        all_components: ``--all-components``: training graphs go to ONNX too.
        config: ``--config`` values as text.
        opset: ONNX operator set, or None for the default.
        verify: How much is proved after writing.
        atol: Absolute parity tolerance, or None for 1e-5 x max(1, largest reference value).
        rtol: Relative parity tolerance, or None for 0.
        allow_nan: Whether an output that is NaN for every input may be written, not proved.
    """

    components: tuple[str, ...]
    explicit: bool = False
    all_components: bool = False
    config: Mapping[str, str] = attrs.field(factory=dict)
    opset: int | None = None
    verify: VerifyLevel = "fast"
    atol: float | None = None
    rtol: float | None = None
    allow_nan: bool = False


@attrs.frozen(eq=False, repr=False)
class Output(Noun):
    """One file that a target will write, decided before anything is written.

    Attributes:
        path: File name in the output folder.
        target: Name of the target.
        component: The component or graph it holds.
        tensors: Key in the file to the tensor's name in the checkpoint.
        nbytes: Bytes it will take, at most; an estimate for formats that fold.
        also: Names of further files that may be written with it (external data, a JSON beside it).
        plan: Whatever the target wants to remember until it writes.
    """

    path: str
    target: str
    component: str
    tensors: Mapping[str, str]
    nbytes: int
    also: tuple[str, ...] = ()
    plan: Any = attrs.field(default=None, eq=False, repr=False)


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
        also: Further places, ``{"file", "key", "state"}``, where one target writes it repeatedly.
    """

    tensor: str | None
    target: str
    state: State
    file: str | None = None
    key: str | None = None
    reason: str | None = None
    also: tuple[Mapping[str, str], ...] = ()


@attrs.frozen(eq=False, repr=False)
class Check(Noun):
    """One comparison that was made: of which file, by which means, with which figures."""

    file: str
    check: str
    passed: bool
    figures: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(eq=False, repr=False)
class Workspace(Noun):
    """The private folder in which a run is staged, and what it works on.

    Attributes:
        folder: Where to create files (exclusively, by the names planned).
        match: The recognised checkpoint.
        choice: What was asked for.
        outputs: Everything this run writes into the folder, of all targets.
        progress: Called with (bytes done, bytes in all) from time to time.
        notes: Sentences that targets add to the evidence while they work.
    """

    folder: Path
    match: LayoutMatch = attrs.field(repr=False)
    choice: Choice
    progress: Callable[[int, int], None] = attrs.field(
        default=lambda done, total: None, eq=False, repr=False
    )
    outputs: Sequence[Output] = attrs.field(default=(), eq=False, repr=False)
    notes: list[str] = attrs.field(factory=list, eq=False, repr=False)


@attrs.frozen(eq=False, repr=False)
class Target(Noun):
    """One kind of output.

    Attributes:
        name: As in ``--to``.
        summary: One line for ``convcore plugins``.
        suffix: File name ending, with its dot.
        plan: Decides every file, refuses whatever it would have to refuse later.
        write: Writes all planned outputs, returns a ledger entry for every tensor it took up.
        verify: Compares what was written with where it came from.
        needs: Packages imported late; a missing one is an error before anything is written.
        accepts: Returns why a match cannot be written, or None when it can.
        options: Names that ``--config`` may give it, each with what it means.
        heeds: Fields of ``Choice`` that change what it writes or proves, of ``opset``, ``atol``,
            ``rtol`` and ``all_components``; one that no target of a run heeds is refused. None:
            nobody knows, so nothing is.
        needs_layout: Whether it has to know what computes the weights, so that a model of no known
            layout is refused.
    """

    name: str = attrs.field(validator=legal.name)
    summary: str
    suffix: str
    plan: Callable[[LayoutMatch, Choice], Iterable[Output]] = attrs.field(
        eq=False, repr=False, validator=legal.function
    )
    write: Callable[[Sequence[Output], Workspace], Iterable[LedgerEntry]] = attrs.field(
        eq=False, repr=False, validator=legal.function
    )
    verify: Callable[[Sequence[Output], Workspace], Iterable[Check]] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )
    needs: tuple[str, ...] = attrs.field(default=(), converter=_packages)
    accepts: Callable[[LayoutMatch], str | None] = attrs.field(
        default=lambda match: None, eq=False, repr=False
    )
    options: Mapping[str, str] = attrs.field(factory=dict)
    heeds: tuple[str, ...] | None = attrs.field(default=None, converter=_fields)
    needs_layout: bool = False
