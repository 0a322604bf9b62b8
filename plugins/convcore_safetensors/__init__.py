"""Target ``safetensors``: one file per component, aliases recorded and not doubled."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence

from convcore import (
    Artifact,
    Check,
    CheckKind,
    Choice,
    LayoutMatch,
    LazyTensor,
    LedgerEntry,
    Target,
    TargetError,
    Workspace,
    hookimpl,
)
from convcore.formats.safetensors import MARK, MARKED, RESERVED, alike
from convcore.targets.weights import (
    append,
    copy,
    create,
    file_stem,
    groups,
    local_names,
    prove,
    reopen,
    supported,
)
from convcore.tensors import BY_NAME

convcore_api = 2
_ALIGNMENT = 8


def plan(match: LayoutMatch, choice: Choice) -> Iterator[Artifact]:
    """Plan one file per chosen component, refusing what the format cannot hold."""
    for component in choice.components:
        names = local_names(match, component)
        tensors = {local: match.checkpoint.tensors[name] for local, name in names.items()}
        supported(tensors)
        _representable(tensors, component)
        header, order = _header(tensors)
        nbytes = len(header) + sum(tensors[name].nbytes for name in order)
        path = f"{file_stem(match, component)}.safetensors"
        yield Artifact(path, "safetensors", component, names, nbytes, plan=tensors)


def write(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[LedgerEntry]:
    """Write header and bytes; a name that shows another's elements is kept in the metadata."""
    total = sum(artifact.nbytes for artifact in artifacts)
    done = 0
    for artifact in artifacts:
        _write(artifact, workspace)
        done += artifact.nbytes
        workspace.progress(done, total)
        names, path = artifact.names, artifact.path
        for first, aliases in groups(artifact.plan):
            yield LedgerEntry(names[first], artifact.target, "written", path, first)
            for alias in aliases:
                why = f"{alias} shows the same elements as {first}; the file's metadata says so"
                yield LedgerEntry(names[alias], artifact.target, "alias", path, first, why)


def check(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[Check]:
    """Compare each file with its source, byte by byte; ``full`` adds safetensors' own reader."""
    for artifact in artifacts:
        yield prove(workspace.folder / artifact.path, artifact.plan)
        if workspace.choice.verify == "full":
            yield _library_reads(artifact, workspace)


def _write(artifact: Artifact, workspace: Workspace) -> None:
    header, order = _header(artifact.plan)
    descriptor = create(workspace.folder / artifact.path)
    try:
        append(header, descriptor)
        for name in order:
            copy(artifact.plan[name], descriptor)
    finally:
        os.close(descriptor)


def _header(tensors: Mapping[str, LazyTensor]) -> tuple[bytes, list[str]]:
    """Build the header (length, JSON, padding) and the order of the tensors' bytes."""
    firsts = dict(groups(tensors))
    notes = {alias: first for first, aliases in firsts.items() for alias in aliases}
    metadata = {"format": "pt"} | notes
    if not all(alike(alias, first) for alias, first in notes.items()):
        metadata[MARK] = MARKED
    # Larger elements first, as the format's own writer does, keeps every tensor aligned.
    order = sorted(firsts, key=lambda name: (-BY_NAME[tensors[name].dtype].itemsize, name))
    entries: dict[str, object] = {"__metadata__": metadata}
    position = 0
    for name in order:
        tensor = tensors[name]
        end = position + tensor.nbytes
        entries[name] = {
            "dtype": BY_NAME[tensor.dtype].safetensors,
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, order


def _representable(tensors: Mapping[str, LazyTensor], component: str) -> None:
    """Refuse what has no place in the format.

    Raises:
        TargetError: An element type without a code, or a name that cannot be a key.
    """
    odd = []
    for name, tensor in tensors.items():
        if BY_NAME[tensor.dtype].safetensors is None:
            odd.append(f"{name}: {tensor.dtype} has no code in safetensors")
        if name == "__metadata__" or any("\ud800" <= char <= "\udfff" for char in name):
            odd.append(f"{name!r} cannot be a key in safetensors")
    shared = {alias for _, aliases in groups(tensors) for alias in aliases}
    for name in shared.intersection(RESERVED):
        odd.append(f"{name!r} shows the same elements as another, and its note would be lost")
    if odd:
        raise TargetError(
            f"{component} cannot be written as safetensors: {odd[0]}",
            seen=odd,
            remedy="use --to pth for this component",
        )


def _library_reads(artifact: Artifact, workspace: Workspace) -> Check:
    import torch
    from safetensors import safe_open

    differing = []
    with safe_open(workspace.folder / artifact.path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 # safe_open is no mapping
            there, here = file.get_tensor(name), artifact.plan[name].load()
            same = there.reshape(-1).view(torch.uint8), here.reshape(-1).view(torch.uint8)
            if there.shape != here.shape or not torch.equal(*same):
                differing.append(name)
    figures = {"differing": differing[:20]}
    said = "safetensors equals source"
    return Check(artifact.path, said, not differing, figures, CheckKind.LIBRARY)


@hookimpl
def convcore_targets() -> list[Target]:
    """Declare the target."""
    return [
        Target(
            "safetensors",
            "one safetensors file per component, without pickles",
            plan,
            write,
            check,
            reopen,
            loads="",
        )
    ]
