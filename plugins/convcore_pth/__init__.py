"""Targets ``pth`` (one file per component) and ``state-dict`` (one flat file, original names)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from convcore import (
    Artifact,
    Check,
    CheckKind,
    Choice,
    LayoutMatch,
    LazyTensor,
    LedgerEntry,
    Target,
    Workspace,
    hookimpl,
)
from convcore.targets.weights import (
    file_stem,
    groups,
    local_names,
    prove,
    reopen,
    supported,
    torch_zip,
)

convcore_api = 2
# A record's headers and the pickle of one tensor, rounded up.
_OVERHEAD = 600


def plan_components(match: LayoutMatch, choice: Choice) -> Iterator[Artifact]:
    """Plan one file per chosen component: the layout's own tree, or its flat state dict."""
    for component in choice.components:
        names = local_names(match, component)
        if match.layout.weights is None:
            tree: Mapping[str, Any] = _flat(match, names)
        else:
            tree = match.layout.weights(match, component)
        path = f"{file_stem(match, component)}.pth"
        yield _artifact("pth", path, component, tree, match, names.values())


def plan_state_dict(match: LayoutMatch, choice: Choice) -> Iterator[Artifact]:
    """Plan one flat file with every tensor that was chosen, under the author's names."""
    checkpoint = match.checkpoint
    left_out = _left_out(match, choice)
    # A layout's schema says which names its class has; of other models only the author's are known.
    known = match.layout.schema is not None
    names = {
        name if known else checkpoint.author_name(name): name
        for name in checkpoint.tensors
        if name not in left_out
    }
    tree = _flat(match, names)
    path = match.layout.state_dict_file
    yield _artifact("state-dict", path, "state_dict", tree, match, names.values())


def _left_out(match: LayoutMatch, choice: Choice) -> set[str]:
    """Names of the components that were not chosen.

    One of which nothing goes into a component's file cannot be chosen by default, and is taken.
    """
    return {
        name
        for part, state in match.states.items()
        if part not in choice.components
        and (choice.explicit or not state.keys() <= match.dropped.keys())
        for name in state
    }


def write(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[LedgerEntry]:
    """Write the planned files; tensors that show the same elements share their bytes."""
    total = sum(artifact.nbytes for artifact in artifacts)
    done = 0
    for artifact in artifacts:
        torch_zip.write(workspace.folder / artifact.path, artifact.plan)
        done += artifact.nbytes
        workspace.progress(done, total)
        tensors = dict(_leaves(artifact.plan))
        for first, aliases in groups(tensors):
            for key in (first, *aliases):
                source = artifact.names.get(key)
                if source is not None:
                    yield LedgerEntry(
                        source,
                        artifact.target,
                        "alias" if key != first else "written",
                        artifact.path,
                        key,
                        f"shares the bytes of {first}" if key != first else None,
                    )


def check(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[Check]:
    """Compare each file with its source, byte by byte; ``full`` adds torch's own reader."""
    for artifact in artifacts:
        tensors = dict(_leaves(artifact.plan))
        yield prove(workspace.folder / artifact.path, tensors)
        if workspace.choice.verify == "full":
            yield _torch_reads(artifact, tensors, workspace)


def _torch_reads(
    artifact: Artifact, tensors: Mapping[str, LazyTensor], workspace: Workspace
) -> Check:
    import torch

    loaded = torch.load(workspace.folder / artifact.path, map_location="cpu", weights_only=True)
    differing = []
    for key, value in _leaves(loaded, torch.Tensor):
        there = value.contiguous().reshape(-1).view(torch.uint8)
        here = tensors[key].load().contiguous().reshape(-1).view(torch.uint8)
        if not torch.equal(there, here):
            differing.append(key)
    figures = {"differing": differing[:20]}
    said = "torch.load equals source"
    return Check(artifact.path, said, not differing, figures, CheckKind.LIBRARY)


def _artifact(
    target: str,
    path: str,
    component: str,
    tree: Mapping[str, Any],
    match: LayoutMatch,
    names: Iterable[str],
) -> Artifact:
    tensors = dict(_leaves(tree))
    supported(tensors)
    # The same elements may stand under several names (tied weights): each place takes one of them.
    by_tensor: dict[object, list[str]] = {}
    for name in names:
        by_tensor.setdefault(match.checkpoint.tensors[name].identity, []).append(name)
    sources = {
        key: by_tensor[t.identity].pop(0) for key, t in tensors.items() if by_tensor.get(t.identity)
    }
    shared = {tensor.identity: tensor.nbytes for tensor in tensors.values()}
    nbytes = sum(shared.values()) + sum(_OVERHEAD + len(key) for key in tensors)
    return Artifact(path, target, component, sources, nbytes + _OVERHEAD, plan=tree)


def _flat(match: LayoutMatch, names: Mapping[str, str]) -> Mapping[str, LazyTensor]:
    tensors = match.checkpoint.tensors
    # As ``state_dict()`` gives them: tensors, even where the file held parameters.
    return OrderedDict(
        (local, attrs.evolve(tensors[name], parameter=False, requires_grad=False))
        for local, name in names.items()
    )


def _leaves(tree: Any, kind: type[Any] = LazyTensor, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a tree that a layout built (a few levels deep), by dotted path."""
    if isinstance(tree, kind):
        yield path, tree
        return
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(tree, Mapping):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    for key, value in items:
        yield from _leaves(value, kind, f"{path}.{key}" if path else str(key))


@hookimpl
def convcore_targets() -> list[Target]:
    """Declare both targets."""
    return [
        Target(
            "pth",
            "one torch file per component, for torch.load(weights_only=True)",
            plan_components,
            write,
            check,
            reopen,
            loads="",
        ),
        Target(
            "state-dict",
            "one torch file with every tensor under its original name",
            plan_state_dict,
            write,
            check,
            reopen,
            loads="",
        ),
    ]
