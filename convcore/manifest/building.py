"""Making the record of a conversion: plain data, the same for the same input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

import convcore
from convcore.formats import as_plain
from convcore.layouts.layout import LayoutMatch
from convcore.manifest.fingerprint import name_of
from convcore.manifest.parts import components_of, layout_name, settings_of
from convcore.manifest.record import (
    ArtifactRecord,
    Manifest,
    SourceRecord,
    WeightSetRecord,
)
from convcore.manifest.rows import plain_figures
from convcore.sources.selection import STATISTICS
from convcore.targets.check import Check
from convcore.targets.report import WrittenFile
from convcore.targets.target import Artifact, LedgerEntry


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


def _weight_sets(match: LayoutMatch) -> Iterator[WeightSetRecord]:
    for each in match.checkpoint.weight_sets:
        nbytes = sum(tensor.nbytes for tensor in each.tensors.values())
        yield WeightSetRecord(each.path, each.kind, len(each.tensors), nbytes, each.of)


def artifact_record(artifact: Artifact, also: tuple[str, ...]) -> ArtifactRecord:
    """What is recorded of an artifact, whose further files are those that were really written."""
    return ArtifactRecord(
        artifact.path, artifact.kind, artifact.of, artifact.variant, artifact.format, also
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
