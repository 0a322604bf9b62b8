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
from convcore.sources.source import Checkpoint, Input, Source

if TYPE_CHECKING:
    from convcore.host.registry import Registry


def read_checkpoint(
    path: Path,
    registry: Registry,
    *,
    source: str | None = None,
    key: str | None = None,
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
        config: ``--config`` values, for sources that take some.
        allow_opaque_calls: Read files that name code-running callables too; nothing is run.
        lenient: Where two plugins declare the source, say so in the evidence and read on, as
            ``inspect`` does.

    Raises:
        PluginError: Two plugins declare the source, or the one named is at fault.
        UsageError: There is nothing at ``path``, or ``source`` is unknown.
        SourceError: Nobody, or more than one, claims it; or it is damaged or unsafe.
    """
    session = FormatSession(formats_of(registry), allow_opaque_calls=allow_opaque_calls)
    given = open_input(path, key=key, config=config, session=session)
    asked = [registry.find("sources", source)] if source else _general_last(registry)
    claims = _claims(given, asked, insist=source is not None)
    if not claims and given.archive is None and _is_readable(given):
        # Nobody's own kind of folder: what its index of shards names is read as one file is.
        given = attrs.evolve(given, archive=session.open(given.location))
        claims = _claims(given, asked, insist=source is not None)
    if source and not claims:
        raise SourceError(
            f"{path.name} is nothing that the source {source} reads",
            remedy="leave out --source, or name another one (convcore plugins lists them)",
        )
    return _settled(claims, given, asked, registry, lenient=lenient)


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
    try:
        folder = path.is_dir()
        if not folder and not os.path.lexists(path):
            raise UsageError(f"there is no file or folder {path}", remedy="check the path")
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} is no usable path: {error}", remedy="check it") from error
    session = session or FormatSession(FORMATS)
    given = Input(path, None, key, config or {}, session.allow_opaque_calls, session)
    if folder or session.recognised(given.location) is None:
        return given
    return attrs.evolve(given, archive=session.open(given.location))


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
        remedy="name the place of the weights with --key PATH, or save model.state_dict()",
    )
