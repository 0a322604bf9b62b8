"""The one road: read, match, plan, stage, write, verify, publish. Only this module knows it."""

from __future__ import annotations

import functools
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from convcore import ledger, manifest
from convcore.digests import Digests, sha256_of
from convcore.errors import SourceError, UsageError, VerificationError
from convcore.host import Registry
from convcore.match import match_layout, settle_split
from convcore.model import LayoutMatch
from convcore.plan import Plan, check_config, choose_components, make_plan, split_layout
from convcore.read import read_checkpoint
from convcore.report import Report, WrittenFile
from convcore.staging import Staging, exists, resolve, staged
from convcore.target import Check, Choice, Target, VerifyLevel, Workspace
from convcore.weights import PIECE, create


@attrs.frozen
class Request:
    """Everything ``convcore convert`` takes; the defaults are the command's.

    Attributes:
        checkpoint: File or folder to read.
        output: Folder to write.
        targets: Names of targets.
        layout: Take this layout.
        source: Take this source.
        components: Names to write; empty writes all.
        splits: ``NAME=KEY_PREFIX`` pairs, for a checkpoint no layout knows.
        discriminators: Whether components with the role training are written.
        all_components: Whether training graphs go to ONNX too.
        config: Layout and target options.
        opset: ONNX operator set.
        verify: How much is proved.
        atol: Absolute parity tolerance.
        rtol: Relative parity tolerance.
        example: Whether ``inference_example.py`` is written.
        key: Where in the file the state dict lies.
        hash_source: Whether the manifest carries the input's SHA-256.
        allow_opaque_calls: Read files that name code-running callables; nothing is run.
        dry_run: Decide everything, write nothing.
        overwrite: Replace an existing output as a whole.
        add: Put further targets into an existing output of the same input.
    """

    checkpoint: Path
    output: Path
    targets: tuple[str, ...] = ("pth",)
    layout: str | None = None
    source: str | None = None
    components: tuple[str, ...] = ()
    splits: Mapping[str, str] = attrs.field(factory=dict)
    discriminators: bool = True
    all_components: bool = False
    config: Mapping[str, str] = attrs.field(factory=dict)
    opset: int | None = None
    verify: VerifyLevel = "fast"
    atol: float | None = None
    rtol: float | None = None
    example: bool = False
    key: str | None = None
    hash_source: bool = False
    allow_opaque_calls: bool = False
    dry_run: bool = False
    overwrite: bool = False
    add: bool = False

    def __attrs_post_init__(self) -> None:
        if self.overwrite and self.add:
            raise UsageError("--overwrite and --add exclude each other", remedy="give one of them")
        if self.components and self.splits:
            raise UsageError(
                "--component NAME and --component NAME=KEY_PREFIX exclude each other",
                remedy="select components of a known layout, or split by prefixes",
            )
        if self.splits and self.layout:
            raise UsageError(
                "--component NAME=KEY_PREFIX makes a layout of its own", remedy="leave out --layout"
            )
        for option, value in (("--atol", self.atol), ("--rtol", self.rtol)):
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"{option} {value} is no tolerance", remedy="give 0 or more")


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
    output = _destination(request)
    targets = [registry.find("targets", name) for name in dict.fromkeys(request.targets)]
    match = recognise(request, registry)
    check_config(match.layout, targets, request.config)
    choice = Choice(
        choose_components(match, request.components, discriminators=request.discriminators),
        bool(request.components),
        request.all_components,
        request.config,
        request.opset,
        request.verify,
        request.atol,
        request.rtol,
    )
    plan = make_plan(match, targets, choice)
    if request.dry_run:
        return Report(output, plan, dry_run=True)
    with staged(output, overwrite=request.overwrite or request.add) as staging:
        # Only now, under the lock: another run may just have added something of its own.
        before = manifest.load(output) if request.add else None
        kept = sum(file["bytes"] for file in before["files"]) if before else 0
        staging.require(plan.nbytes + sum(_size(p) for p in match.sidecars.values()) + kept)
        report = _fill(request, plan, staging, progress, before)
        staging.publish()
    registry.tell(report)
    return report


def recognise(request: Request, registry: Registry) -> LayoutMatch:
    """Read the input and find its layout: the road up to the match."""
    checkpoint = read_checkpoint(
        request.checkpoint,
        registry,
        source=request.source,
        key=request.key,
        config=request.config,
        allow_opaque_calls=request.allow_opaque_calls,
    )
    if not checkpoint.tensors:
        raise SourceError(
            f"{request.checkpoint.name} holds no tensors that could be converted",
            seen=checkpoint.evidence,
            remedy="name the place of the weights with --key PATH",
        )
    if request.splits:
        layout = split_layout(request.splits, list(checkpoint.tensors))
        return settle_split(layout, checkpoint)
    return match_layout(checkpoint, registry, name=request.layout, config=request.config)


def _fill(
    request: Request,
    plan: Plan,
    staging: Staging,
    progress: Progress,
    before: Mapping[str, Any] | None,
) -> Report:
    match, choice = plan.match, plan.choice
    rows: list[dict[str, object]] = []
    checks: list[Check] = []
    kept: list[WrittenFile] = []
    targets = [step.target for step in plan.steps]
    if before is not None:
        kept, rows, checks = _keep(request, before, staging, targets)
    outputs = [output for step in plan.steps for output in step.outputs]
    desk = Workspace(staging.folder, match, choice, outputs=outputs)
    for step in plan.steps:
        name = step.target.name
        told = attrs.evolve(desk, progress=functools.partial(progress, name))
        entries = ledger.complete(name, step.target.write(step.outputs, told), match, choice)
        rows += ledger.as_rows(entries, match.checkpoint.renamed)
    with Digests(staging.folder) as digests:
        # Only now, because a graph is proved against the weight files written beside it.
        for step in plan.steps:
            if step.target.verify is not None and choice.verify != "none":
                progress(f"verifying {step.target.name}", 0, 0)
                checks += step.target.verify(step.outputs, desk)
    _refuse_failed(checks)
    _write_documents(request, plan, staging.folder, [file.path for file in kept])
    _undamaged(match, choice)
    _unchanged(match)
    by_path: dict[str, tuple[str | None, str | None]] = {
        path: (output.component, output.target)
        for output in outputs
        for path in (output.path, *output.also)
    }
    by_path |= {file.path: (file.component, file.target) for file in kept if file.target}
    files = tuple(_written(staging.folder, by_path, digests))
    content = manifest.build(
        match,
        nbytes=_size(match.checkpoint.path),
        sha256=sha256_of(match.checkpoint.path) if request.hash_source else None,
        files=files,
        ledger=rows,
        checks=checks,
        packages=[package for step in plan.steps for package in step.target.needs],
    )
    if before is not None:
        content["versions"] = {**before["versions"], **content["versions"]}
    _write(staging.folder / manifest.NAME, manifest.dumps(content))
    return Report(staging.output, plan, files, tuple(checks), content)


def _keep(
    request: Request, before: Mapping[str, Any], staging: Staging, targets: Sequence[Target]
) -> tuple[list[WrittenFile], list[dict[str, object]], list[Check]]:
    """Take an existing output's files into the new one, so that both appear in one step."""
    renewed = {target.name for target in targets}
    kept = []
    for file in before["files"]:
        if file["target"] is None or file["target"] in renewed:
            continue
        there, here = staging.output / file["path"], staging.folder / file["path"]
        if there.is_symlink() or not there.is_file() or sha256_of(there) != file["sha256"]:
            raise SourceError(
                f"{there} is not what the manifest beside it describes",
                remedy="give --overwrite instead of --add, or another folder with -o",
            )
        try:
            os.link(there, here, follow_symlinks=False)
        except OSError:
            shutil.copyfile(there, here, follow_symlinks=False)
        kept.append(
            WrittenFile(*(file[k] for k in ("path", "component", "target", "bytes", "sha256")))
        )
    names = {file.path for file in kept}
    rows = [dict(row) for row in before["ledger"] if row["target"] not in renewed]
    checks = [
        Check(c["file"], c["check"], c["passed"], _figures(c))
        for c in before["checks"]
        if c["file"] in names
    ]
    return kept, rows, checks


def _figures(check: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in check.items() if k not in ("file", "check", "passed")}


def _write_documents(request: Request, plan: Plan, folder: Path, kept: Sequence[str]) -> None:
    for name, content in plan.documents.items():
        _write(folder / name, manifest.dumps(content))  # type: ignore[arg-type]  # JSON objects
    for name, path in plan.match.sidecars.items():
        if name not in plan.documents:
            _copy(path, folder / name)
    if request.example:
        from convcore.example import render

        planned = [output for step in plan.steps for output in step.outputs]
        _write(folder / "inference_example.py", render(plan.match, planned, kept).encode())


def _destination(request: Request) -> Path:
    output = resolve(request.output)
    if request.add:
        before = manifest.load(output)
        if before["source"]["name"] != request.checkpoint.resolve().name or (
            before["source"]["bytes"] != _size(request.checkpoint)
        ):
            raise UsageError(
                f"{output} was made from {before['source']['name']}, not from {request.checkpoint}",
                remedy="give another folder with -o, or --overwrite instead of --add",
            )
    elif output.is_dir() and any(output.iterdir()) and not request.overwrite:
        raise exists(output)
    if request.checkpoint.is_dir() and output.is_relative_to(request.checkpoint.resolve()):
        raise UsageError(
            f"the output {output} lies inside the folder that is read", remedy="give another -o"
        )
    if request.checkpoint.exists() and request.checkpoint.resolve().is_relative_to(output):
        raise UsageError(
            f"the input {request.checkpoint} lies inside the output {output}",
            remedy="give another -o",
        )
    return output


def _refuse_failed(checks: Sequence[Check]) -> None:
    failed = [check for check in checks if not check.passed]
    if failed:
        raise VerificationError(
            f"{len(failed)} of {len(checks)} checks failed: {failed[0].file} ({failed[0].check})",
            seen=[f"{c.file}: {c.check}: {dict(c.figures)}" for c in failed],
            remedy="nothing was written; compare the figures, or raise --atol if they are noise",
        )


def _undamaged(match: LayoutMatch, choice: Choice) -> None:
    """Compare the CRC-32 of every storage that was written from and not compared on the way."""
    for part in choice.components:
        for tensor in match.states.get(part, {}).values():
            if not tensor.unsupported and tensor.storage.crc is not None:
                tensor.verify_record()


def _unchanged(match: LayoutMatch) -> None:
    """Refuse to publish what was read from a file that changed meanwhile."""
    tensors = match.checkpoint.tensors.values()
    for file in {id(tensor.storage.file): tensor.storage.file for tensor in tensors}.values():
        file.check_unchanged()


def _written(
    folder: Path, by_path: Mapping[str, tuple[str | None, str | None]], digests: Digests
) -> Iterator[WrittenFile]:
    for path in sorted(folder.iterdir()):
        component, target = by_path.get(path.name, (None, None))
        size = path.stat().st_size
        yield WrittenFile(path.name, component, target, size, digests.of(path))


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
    return path.stat().st_size


def _copy(source: Path, destination: Path) -> None:
    with source.open("rb") as file:
        descriptor = create(destination)
        with os.fdopen(descriptor, "wb") as copy:
            shutil.copyfileobj(file, copy, PIECE)


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(create(path), "wb") as file:
        file.write(data)
