"""Checkpoints that are nearly right: what a source reads, changed before anything sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.host.registry import Registry
from convcore.sources.reading import open_input
from convcore.sources.source import Checkpoint, Source
from convcore.tensors import LazyTensor, TensorSpec

# A stranger's strings: paths, templates, formats, code, terminal commands. Each carries the mark.
MARK = "CONVCORE_HOSTILE"
PRODUCT = str(7919 * 7907)
HOSTILE = (
    f"../../{MARK}",
    f"/tmp/{MARK}",
    f"{MARK}\0.pth",
    f"{{{{ 7919*7907 }}}} {MARK} {{% for x in () %}}",
    f"{{0.__class__}} %(x)s {MARK}",
    f'"""\nimport {MARK}\n"""',
    f"'; import {MARK} #",
    f"\\'; import {MARK} #\\",
    f"\x1b[31m{MARK}\u202e\u2028",
    f"$(touch {MARK})",
    f"os.system:{MARK}",
    MARK * 500,
)


def read_by(registry: Registry, checkpoint: Checkpoint) -> Registry:
    """Return a registry whose only source gives this checkpoint, whatever the file holds."""
    source = Source("disguise", "a changed checkpoint", lambda given: checkpoint)
    return attrs.evolve(registry, sources={"disguise": source}, rivals={}, conflicts={})


def without(checkpoint: Checkpoint, *names: str) -> Checkpoint:
    """Return the checkpoint without some tensors."""
    left = {name: t for name, t in checkpoint.tensors.items() if name not in names}
    return attrs.evolve(checkpoint, tensors=left)


def reshaped(tensor: LazyTensor, axis: int | None) -> LazyTensor:
    """Return the tensor with one axis longer by 1, or with one axis more; its bytes stay in bounds.

    The changed axis has stride 0, so that whoever reads it reads elements that are there.
    """
    shape, stride = tensor.spec.shape, tensor.stride
    if axis is None:
        shape, stride = (2, *shape), (0, *stride)
    else:
        shape = (*shape[:axis], shape[axis] + 1, *shape[axis + 1 :])
        stride = (*stride[:axis], 0, *stride[axis + 1 :])
    return attrs.evolve(tensor, spec=TensorSpec(tensor.dtype, shape), stride=stride)


def prefixed(path: Path, source: Source, prefix: str, keys: frozenset[str]) -> Checkpoint | None:
    """Read a file as if every key of its state dict had a prefix; None for a folder.

    Args:
        path: The file.
        source: What reads it.
        prefix: Put before each key.
        keys: The state dict's own keys, by which it is found in the file.
    """
    given = open_input(path)
    if given.archive is None or not given.path.is_file():
        return None
    tree = _renamed(given.archive.tree, prefix, keys)
    return source.read(attrs.evolve(given, archive=attrs.evolve(given.archive, tree=tree)))


def _renamed(tree: Any, prefix: str, keys: frozenset[str]) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    if keys <= tree.keys():
        return {f"{prefix}{key}" if key in keys else key: value for key, value in tree.items()}
    return {key: _renamed(value, prefix, keys) for key, value in tree.items()}


def changed_strings(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return plain data with every leaf changed; tensors and unknown objects stay."""
    if isinstance(value, Mapping):
        return {key: changed_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [changed_strings(item, change) for item in value]
    return change(value) if isinstance(value, str | int | float | bool | None) else value
