"""From a path to a checkpoint: the format is opened once, every source is asked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from convcore.errors import PluginError, SourceError, UsageError, warn
from convcore.formats.builtin import FORMATS
from convcore.formats.format import Format, FormatSession
from convcore.formats.hf_shards import find_index
from convcore.names import counted
from convcore.sources.containers import may_hold_one, open_container
from convcore.sources.neighbours import is_index, refuse_shard
from convcore.sources.source import Checkpoint, Input, Source

if TYPE_CHECKING:
    from convcore.host.registry import Registry


def read_checkpoint(
    path: Path,
    registry: Registry,
    *,
    source: str | None = None,
    key: str | None = None,
    weights: str | None = None,
    only: tuple[str, ...] = (),
    member: str | None = None,
    partial: bool = False,
    rename: tuple[str, ...] = (),
    config: Mapping[str, str] | None = None,
    allow_opaque_calls: bool = False,
    lenient: bool = False,
) -> Checkpoint:
    """Read a file or a folder with the one source that claims it.

    Args:
        path: File or folder.
        registry: The sources to ask.
        source: ``--source``: ask this one only.
        key: ``--key``: where in the file the state dict lies.
        weights: ``--weights``: trained weights or an average of them, where both are there.
        only: ``--only``: patterns of the files of a folder that are meant.
        member: ``--member``: which file of a container is meant.
        partial: ``--partial``: whether one shard of several is read by itself.
        rename: ``--rename``: other names for the tensors, given once they are chosen.
        config: ``--config`` values, for sources that take some.
        allow_opaque_calls: Read files that name code-running callables too; nothing is run.
        lenient: Where two plugins declare the source, say so in the evidence and read on, as
            ``inspect`` does.

    Raises:
        PluginError: Two plugins declare the source, or the one named is at fault.
        UsageError: There is nothing at ``path``, or ``source`` is unknown.
        SourceError: Nobody, or more than one, claims it; or it is damaged or unsafe.
    """
    session = FormatSession(formats_of(registry), registry.budgets, allow_opaque_calls)
    given = Input(path, None, key, config or {}, allow_opaque_calls, session)
    given = opened(
        attrs.evolve(given, weights=weights, only=tuple(only), member=member, partial=partial)
    )
    asked = [registry.find("sources", source)] if source else _general_last(registry)
    claims = _asked(given, asked, insist=source is not None)
    if not claims and given.archive is None and _is_readable(given):
        # Nobody's own kind of folder: what its index of shards names is read as one file is.
        given = attrs.evolve(given, archive=session.open(given.location))
        claims = _claims(given, asked, insist=source is not None)
    if source and not claims:
        raise SourceError(
            f"{path.name} is nothing that the source {source} reads",
            remedy="leave out --source, or name another one (convcore plugins lists them)",
        )
    checkpoint = _settled(claims, given, asked, registry, lenient=lenient)
    if not rename:
        return checkpoint
    from convcore.sources.renaming import renamed

    return renamed(checkpoint, rename)


def _asked(given: Input, asked: list[Source], *, insist: bool) -> list[tuple[Source, Checkpoint]]:
    """Ask the sources; of a folder the general ones only where nobody knows its kind."""
    if given.archive is not None or insist:
        return _claims(given, asked, insist=insist)
    general = {name for source in asked for name in source.refines}
    claims = _claims(given, [each for each in asked if each.name not in general], insist=False)
    if claims or (not given.only and find_runs(given.path, asked)):
        return claims
    return _claims(given, [each for each in asked if each.name in general], insist=False)


def _claims(given: Input, asked: list[Source], *, insist: bool) -> list[tuple[Source, Checkpoint]]:
    """Ask every source for the input; the one asked for by name may not fail."""
    claims: list[tuple[Source, Checkpoint]] = []
    for each in asked:
        if any(each.name in claimant.refines for claimant, _ in claims):
            continue
        try:
            checkpoint = each.read(given)
        except PluginError as error:
            if insist:
                raise
            # A source that fails where it should answer must not keep the others from reading.
            warn(f"the source {each.name} is left out: {error.what}")
            continue
        if checkpoint is not None:
            claims.append((each, checkpoint))
    return claims


def _settled(
    claims: list[tuple[Source, Checkpoint]],
    given: Input,
    asked: list[Source],
    registry: Registry,
    *,
    lenient: bool,
) -> Checkpoint:
    if not claims:
        raise _unclaimed(given, asked)
    disputes = {
        each.name: registry.dispute("sources", each.name)
        for each, _ in claims
        if registry.disputed("sources", each.name)
    }
    for dispute in disputes.values():
        if not lenient:
            raise dispute
    names = list(dict.fromkeys(claimant.name for claimant, _ in claims))
    if len(names) > 1:
        raise SourceError(
            f"{len(names)} sources claim {given.path.name}: {', '.join(names)}",
            seen=[f"{each.name}: {'; '.join(found.evidence)}" for each, found in claims],
            remedy=f"name one of them, for example --source {names[0]}",
        )
    checkpoint = claims[0][1]
    said = tuple(dispute.what for dispute in disputes.values())
    read = given.archive.evidence if given.archive else ()
    return attrs.evolve(checkpoint, evidence=(*checkpoint.evidence, *read, *said))


def open_input(
    path: Path,
    *,
    key: str | None = None,
    config: Mapping[str, str] | None = None,
    session: FormatSession | None = None,
) -> Input:
    """Open a file; a folder, and what no format knows, are left for the sources to look into."""
    session = session or FormatSession(FORMATS)
    return opened(Input(path, None, key, config or {}, session.allow_opaque_calls, session))


def opened(given: Input) -> Input:
    """Open an input's file, or the checkpoint in it where it is a container.

    Raises:
        UsageError: There is nothing, or an option means nothing for it.
        SourceError: It is damaged, unsafe, or one shard of several.
    """
    path, session = given.path, given.session
    assert session is not None  # whoever makes an input to be opened gives it one
    try:
        folder = path.is_dir()
        if not folder and not os.path.lexists(path):
            raise UsageError(f"there is no file or folder {path}", remedy="check the path")
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} is no usable path: {error}", remedy="check it") from error
    if folder:
        return given
    if given.only:
        raise UsageError(
            f"--only chooses among the files of a folder, and {path.name} is a file",
            remedy="give the folder, or leave it out",
        )
    known = session.recognised(given.location)
    try:
        if known is None and not may_hold_one(given):
            return given
        archive = session.open(given.location)
    except SourceError as fault:
        try:
            archive = open_container(given, fault)
        except SourceError as error:
            if error is fault and known is None:
                return given  # some source may know what no format does
            raise
    else:
        if given.member is not None:
            raise UsageError(
                f"{path.name} is a checkpoint itself, and no container of others",
                remedy="leave out --member",
            )
        if not given.partial and not is_index(path):
            refuse_shard(path)
    return attrs.evolve(given, archive=archive)


def formats_of(registry: Registry) -> Iterable[Format]:
    """Return the formats that plugins declare; those convcore comes with where none does."""
    return list(registry.claimed("formats")) or FORMATS


def _is_readable(given: Input) -> bool:
    """Whether a format reads a folder; a file that none does is refused, saying what it is."""
    assert given.session is not None  # open_input gave it one
    return not given.path.is_dir() or given.session.recognised(given.location) is not None


def _general_last(registry: Registry) -> list[Source]:
    """Order sources so that a special case is asked before what it refines."""
    sources = list(registry.claimed("sources"))
    refined = {name for source in sources for name in source.refines}
    return sorted(sources, key=lambda source: (source.name in refined, source.name))


def find_runs(folder: Path, sources: Iterable[Source]) -> list[Path]:
    """Return the checkpoints of the runs below a folder, files or folders, as sources know them."""
    found: dict[Path, None] = {}  # in the order its source gives them: seed 2 before seed 10
    for source in sources:
        try:
            found |= dict.fromkeys((source.runs and source.runs(folder)) or ())
        except PluginError as error:
            warn(f"the source {source.name} is left out: {error.what}")
    return [run for run in found if run != folder]


def _unclaimed(given: Input, asked: list[Source]) -> SourceError:
    names = ", ".join(source.name for source in asked)
    runs = find_runs(given.path, asked) if given.archive is None else []
    if runs:
        return SourceError(
            f"the folder {given.path} holds {counted(len(runs), 'run')}, not one checkpoint",
            seen=[os.path.relpath(run, given.path) for run in runs[:20]],
            remedy=f"give one of them, for example {runs[0]}",
        )
    if given.archive is None:
        inside = sorted(entry.name for entry in given.path.iterdir())[:12]
        return SourceError(
            f"the folder {given.path} holds no checkpoint that a source knows",
            seen=[
                f"inside: {', '.join(inside) or 'nothing'}",
                *find_index(given.location)[1],
                f"asked: {names}",
            ],
            remedy="give a file inside it, or a folder as the training script wrote it",
        )
    return SourceError(
        f"{given.path.name} is a sound {given.archive.format} file, but holds no state dict",
        seen=[f"its top is a {type(given.archive.tree).__name__}", f"asked: {names}"],
        remedy="save the weights: torch.save(model.state_dict(), …)",
    )
