"""The one road: read, match, plan, stage, write, verify, publish. Only this module knows it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path

import attrs

from convcore.engine.adding import Kept, destination, keep
from convcore.engine.config import check_config
from convcore.engine.plan import (
    check_heeded,
    choose_components,
    make_plan,
    split_layout,
)
from convcore.engine.request import Request
from convcore.errors import SourceError
from convcore.formats import walk_tensors
from convcore.host.registry import Registry
from convcore.layouts.layout import LayoutMatch
from convcore.layouts.matching import match_layout, settle_split
from convcore.layouts.unknown import by_networks
from convcore.manifest import document as manifest
from convcore.manifest import ledger
from convcore.manifest.building import artifact_record, build, versions_of
from convcore.manifest.fingerprint import digest_of, fingerprint, lasting, size_of
from convcore.manifest.record import ArtifactRecord
from convcore.manifest.writing import text_of
from convcore.output.destination import refuse_inputs
from convcore.output.digests import Digests
from convcore.output.documents import EXAMPLE, write, write_documents
from convcore.output.foreign_files import strangers_in
from convcore.output.staging import Staging, staged
from convcore.sources import decide
from convcore.sources.reading import read_checkpoint
from convcore.targets.check import Check
from convcore.targets.report import Plan, Report, WrittenFile
from convcore.targets.target import (
    Artifact,
    Choice,
    LedgerEntry,
    Target,
    Workspace,
)
from convcore.tensors import LazyTensor
from convcore.tensors.opened import watched
from convcore.verification.failure import refuse_failed

Progress = Callable[[str, int, int], None]


def convert(
    request: Request,
    registry: Registry,
    progress: Progress = lambda stage, done, total: None,
) -> Report:
    """Carry out a request, or leave everything as it was.

    Args:
        request: What to do.
        registry: Sources, layouts and targets to do it with.
        progress: Called with (stage, done, total) from time to time.

    Raises:
        ConvcoreError: Each kind with its exit code; the destination is then untouched.
    """
    output = destination(request)
    targets = targets_of(request, registry)
    check_heeded(request, targets, registry)
    with watched() as opened:
        plan = _plan(request, registry, targets)
        opened.settle()
        refuse_inputs(output, opened.paths)
        if request.overwrite or request.add:
            strangers_in(
                output, plan.names | ({EXAMPLE} if request.create_inference_script else set())
            )
        if request.dry_run:
            return Report(output, plan, dry_run=True)
        with staged(output, overwrite=request.overwrite or request.add) as staging:
            report = _fill(request, plan, staging, registry, progress)
            opened.check_unchanged()
            staging.publish()
    registry.tell(report)
    return report


def targets_of(request: Request, registry: Registry) -> list[Target]:
    """The targets of a request, each once.

    Raises:
        UsageError: One is unknown.
        PluginError: Two plugins declare one.
    """
    return [registry.find("targets", name) for name in dict.fromkeys(request.targets)]


def planned(request: Request, registry: Registry) -> Plan:
    """Decide everything that a conversion decides before it writes.

    Raises:
        ConvcoreError: The input cannot be converted as it was asked for.
    """
    return _plan(request, registry, targets_of(request, registry))


def _plan(request: Request, registry: Registry, targets: Sequence[Target]) -> Plan:
    match = recognise(request, registry)
    check_config(match.layout, targets, request.config)
    choice = Choice(
        choose_components(match, request.components, discriminators=not request.no_discriminators),
        bool(request.components),
        request.verify,
    )
    return make_plan(match, targets, choice, request)


def recognise(request: Request, registry: Registry) -> LayoutMatch:
    """Read the input and find its layout: the road up to the match."""
    checkpoint = read_checkpoint(request.checkpoint, registry, **request.opening())
    if not checkpoint.tensors:
        raise SourceError(
            f"{request.checkpoint.name} holds no tensors that could be converted",
            seen=checkpoint.evidence,
            remedy="name the place of the weights with --key PATH",
        )
    checkpoint = decide(checkpoint)
    if request.splits:
        layout = split_layout(request.splits, list(checkpoint.tensors))
        return settle_split(layout, checkpoint, remainder=request.remainder)
    if request.split:
        return by_networks(checkpoint, split=True)
    networks = not any(registry.find("targets", name).needs_layout for name in request.targets)
    return match_layout(
        checkpoint, registry, name=request.layout, config=request.config, networks=networks
    )


def _fill(
    request: Request, plan: Plan, staging: Staging, registry: Registry, progress: Progress
) -> Report:
    match, choice = plan.match, plan.choice
    targets = [step.target for step in plan.steps]
    # Only now, under the lock: another run may just have added something of its own.
    kept = keep(staging, plan, registry) if request.add else Kept()
    staging.require(plan.nbytes + sum(size_of(path) for path in match.sidecars.values()))
    desk = Workspace(
        staging.folder,
        match,
        choice,
        functools.partial(plan.written, staging.folder),
    )
    written = _write(plan, desk, progress)
    with Digests(staging.folder) as digests:
        rows = [
            row
            for target, taken in zip(targets, written, strict=True)
            for row in ledger.complete(target.name, taken, match, choice)
        ]
        # Those of what stands were found to be the same, at the price of reading where no container
        # has checksums: they are not taken again.
        fingerprints = kept.fingerprints | {
            part: fingerprint(lasting(match, part))
            for part in choice.components
            if part not in kept.fingerprints
        }
        checks = [*kept.checks, *_check(plan, desk, progress)]
    told = tuple(dict.fromkeys([*match.evidence, *desk.notes]))
    plan = attrs.evolve(plan, match=attrs.evolve(match, evidence=told))
    match = plan.match
    refuse_failed(checks, match, choice)
    wanted = request.create_inference_script or kept.example
    write_documents(plan, staging.folder, kept.artifacts, registry.targets if wanted else None)
    _undamaged(plan, written)
    source = match.checkpoint.path
    files = _listed(staging.folder, plan.artifacts, kept, digests)
    before = kept.before
    used = versions_of(package for target in targets for package in target.needs)
    record = build(
        match,
        nbytes=size_of(source),
        sha256=digest_of(source) if request.hash_source else None,
        request=request.as_record() if before is None else before.request or {},
        additions=() if before is None else (*before.additions, request.as_record()),
        files=files,
        artifacts=_made([*plan.artifacts, *kept.artifacts], {file.path for file in files}),
        strangers=strangers_in(staging.output) if staging.overwrite else (),
        ledger=ledger.joined(kept.rows, rows),
        checks=checks,
        versions=used if before is None else {**before.versions, **used},
        fingerprints=fingerprints,
    )
    write(staging.folder / manifest.NAME, text_of(record))
    return Report(staging.output, plan, files, tuple(checks), record)


def _write(plan: Plan, desk: Workspace, progress: Progress) -> list[list[LedgerEntry]]:
    """Let every target write what it planned, and nothing else; return what each took up."""
    written = []
    for step in plan.steps:
        told = attrs.evolve(
            desk, choice=step.choice, progress=functools.partial(progress, step.target.name)
        )
        before = {path.name for path in desk.folder.iterdir()}
        written.append(list(step.target.write(step.artifacts, told)))
        ledger.as_planned(step.target.name, step.artifacts, desk.folder, before)
    return written


def _check(plan: Plan, desk: Workspace, progress: Progress) -> Iterator[Check]:
    """Prove every file, once all are there: a graph is held against the weight files beside it."""
    for step in plan.steps:
        if step.target.check is not None and plan.choice.verify != "none":
            progress(f"verifying {step.target.name}", 0, 0)
            yield from step.target.check(step.artifacts, attrs.evolve(desk, choice=step.choice))


def _undamaged(plan: Plan, written: Iterable[Iterable[LedgerEntry]]) -> None:
    """Compare the CRC-32 of every storage that was written from and not compared on the way.

    What a layout puts into a component's file need not be that component's, nor be named.
    """
    match = plan.match
    names = {name for artifact in plan.artifacts for name in artifact.names.values()}
    names |= {row.tensor for rows in written for row in rows if row.tensor and row.file}
    names |= {name for part in plan.choice.components for name in match.states.get(part, ())}
    tensors = [match.checkpoint.tensors[name] for name in names]
    tensors += [tensor for artifact in plan.artifacts for _, tensor in walk_tensors(artifact.plan)]
    for tensor in tensors:
        if not tensor.unsupported and _has_checksum(tensor):
            tensor.verify_record()


def _has_checksum(tensor: LazyTensor) -> bool:
    return any(leaf.crc is not None for leaf in tensor.storage.leaves)


def _made(artifacts: Iterable[Artifact], written: Set[str]) -> list[ArtifactRecord]:
    return sorted(
        (
            artifact_record(each, tuple(path for path in each.also if path in written))
            for each in artifacts
        ),
        key=lambda record: record.path,
    )


def _listed(
    folder: Path, artifacts: Iterable[Artifact], kept: Kept, digests: Digests
) -> tuple[WrittenFile, ...]:
    owners: dict[str, tuple[str | None, str | None]] = {
        path: (artifact.of, artifact.target) for artifact in artifacts for path in artifact.paths
    }
    owners |= {file.path: (file.component, file.target) for file in kept.files}
    return tuple(
        WrittenFile(
            path.name, *owners.get(path.name, (None, None)), path.stat().st_size, digests.of(path)
        )
        for path in sorted(folder.iterdir())
    )
