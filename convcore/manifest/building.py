"""Making the record of a conversion: plain data, the same for the same input."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import attrs

import convcore
from convcore.formats import as_plain
from convcore.layouts.layout import LayoutMatch, Setting
from convcore.layouts.unknown import UNKNOWN
from convcore.manifest.fingerprint import name_of
from convcore.manifest.record import (
    ArtifactRecord,
    ComponentRecord,
    Manifest,
    SourceRecord,
    WeightSetRecord,
)
from convcore.manifest.rows import plain_figures
from convcore.sources.selection import STATISTICS
from convcore.targets.check import Check
from convcore.targets.report import WrittenFile
from convcore.targets.target import Artifact, LedgerEntry
from convcore.tensors import LazyTensor


def build(
    match: LayoutMatch,
    *,
    nbytes: int,
    sha256: str | None,
    request: Mapping[str, object],
    additions: Iterable[Mapping[str, object]] = (),
    files: Iterable[WrittenFile],
    artifacts: Iterable[ArtifactRecord],
    strangers: Iterable[str] = (),
    ledger: Iterable[LedgerEntry],
    checks: Iterable[Check],
    versions: Mapping[str, str],
    fingerprints: Mapping[str, str],
) -> Manifest:
    """Build the record of what lies in a folder.

    Args:
        match: The recognised checkpoint.
        nbytes: Size of the input.
        sha256: Of the input, or None when it was not asked for.
        request: The options of the conversion.
        additions: Those of later runs that added to it.
        files: What was written.
        artifacts: What targets made.
        strangers: Names of files that somebody else put there.
        ledger: Rows, tensors under the names they have in the file.
        checks: What was compared.
        versions: Of the packages that the targets imported, which may have shaped the output.
        fingerprints: Of the components that files were made of, see ``fingerprint``.
    """
    checkpoint = match.checkpoint
    return Manifest(
        convcore_version=convcore.__version__,
        source=SourceRecord(
            name_of(checkpoint.path), nbytes, sha256, checkpoint.format, checkpoint.source
        ),
        layout=layout_name(match),
        evidence=match.evidence,
        settings=settings_of(match),
        sizes=dict(match.sizes),
        renamed=dict(checkpoint.renamed),
        spelt=dict(checkpoint.spelt),
        statistics=() if layout_name(match) is None else checkpoint.networks.get(STATISTICS, ()),
        weight_sets=tuple(_weight_sets(match)),
        components=components_of(match, fingerprints),
        request=as_plain(request),
        additions=tuple(map(as_plain, additions)),
        files=tuple(files),
        artifacts=tuple(artifacts),
        strangers=tuple(sorted(strangers)),
        ledger=tuple(ledger),
        checks=tuple(attrs.evolve(c, figures=plain_figures(c.figures)) for c in checks),
        opaque=dict(checkpoint.opaque),
        versions=dict(versions),
    )


def layout_name(match: LayoutMatch) -> str | None:
    """Name of the layout; None for a model that none knows."""
    return None if match.layout.name == UNKNOWN else match.layout.name


def _weight_sets(match: LayoutMatch) -> Iterator[WeightSetRecord]:
    for each in match.checkpoint.weight_sets:
        nbytes = sum(tensor.nbytes for tensor in each.tensors.values())
        yield WeightSetRecord(each.path, each.kind, len(each.tensors), nbytes, each.of)


def artifact_record(artifact: Artifact, also: tuple[str, ...]) -> ArtifactRecord:
    """What is recorded of an artifact, whose further files are those that were really written."""
    return ArtifactRecord(
        artifact.path, artifact.kind, artifact.of, artifact.variant, artifact.format, also
    )


def settings_of(match: LayoutMatch) -> dict[str, Setting]:
    """Every setting, its value as JSON has it."""
    return {
        name: Setting(as_plain(setting.value), setting.origin)
        for name, setting in match.settings.items()
    }


def components_of(
    match: LayoutMatch, fingerprints: Mapping[str, str]
) -> tuple[ComponentRecord, ...]:
    """Every component that the checkpoint has, with its sizes."""
    return tuple(
        ComponentRecord(
            part.name,
            part.role,
            len(state),
            parameters(state),
            sum(tensor.nbytes for tensor in state.values()),
            fingerprints.get(part.name),
        )
        for part in match.layout.components
        if (state := match.states.get(part.name)) is not None
    )


def parameters(state: Mapping[str, LazyTensor]) -> int:
    """How many numbers are trained: those of all tensors but the statistics of batch norms."""
    return sum(
        math.prod(tensor.shape)
        for name, tensor in state.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of installed packages; none for a pure byte copy, which no tool can change."""
    found: dict[str, str] = {}
    wanted = sorted(set(packages))
    if not wanted:
        return found
    from importlib.metadata import PackageNotFoundError, version

    for name in wanted:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
