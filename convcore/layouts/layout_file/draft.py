"""A first layout file for a checkpoint that nobody knows, drawn from its prefixes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from convcore.layouts.candidates import REMAINDER
from convcore.names import counted
from convcore.sources.source import Checkpoint
from convcore.toml import quoted

_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]+")
# Names that training code bases give to what is thrown away after training.
_TRAINING = re.compile(r"disc|critic|netD|^D(_|$)|loss|ema_|optim|teacher", re.IGNORECASE)
# More top-level prefixes than this are layers of one network rather than networks.
_MANY = 24


def suggest(checkpoint: Checkpoint) -> str:
    """Return a TOML draft whose components are the checkpoint's top-level prefixes.

    Every string of the checkpoint is escaped, so that it stays a string; component names are our
    own where the checkpoint's cannot be file names.
    """
    groups = _groups(list(checkpoint.tensors))
    held = counted(len(checkpoint.tensors), "tensor")
    lines = [
        f"# Draft for {quoted(checkpoint.path.name)}: {held}.",
        "# Check names and roles, then: convcore convert CHECKPOINT --layout-file FILE.toml -o DIR",
        'name = "my-layout"',
        'summary = "what training code writes this"',
    ]
    if checkpoint.sidecars:
        lines.append(f"sidecars = [{', '.join(map(quoted, checkpoint.sidecars))}]")
    for name, patterns, keys in groups:
        tensors = [checkpoint.tensors[key] for key in keys]
        numbers = sum(math.prod(tensor.shape) for tensor in tensors)
        lines += [
            "",
            f"# {counted(len(keys), 'tensor')}, {counted(numbers, 'number')}",
            f"[components.{name}]",
        ]
        lines.append(f"keys = [{', '.join(map(quoted, patterns))}]")
        if any(_TRAINING.search(pattern) for pattern in patterns) and len(groups) > 1:
            lines.append('role = "training"')
    example = groups[0][0] if groups else "model"
    lines += [
        "",
        "# For --to onnx, say what computes a component:",
        f"# [graphs.{example}]",
        '# network = "package.module:Callable"',
        '# inputs = [{ name = "x", shape = ["batch", 3, 64, 64] }]',
        '# outputs = [{ name = "y", shape = ["batch", 10] }]',
    ]
    return "\n".join(lines) + "\n"


def _groups(keys: Sequence[str]) -> list[tuple[str, list[str], list[str]]]:
    """Group keys into components: name, patterns, keys."""
    tops: dict[str, list[str]] = {}
    for key in keys:
        head, dot, _ = key.partition(".")
        tops.setdefault(f"{head}{dot}", []).append(key)
    layers = all(top.rstrip(".").isdigit() for top in tops)
    if layers or len(tops) > _MANY or any(not _writable(top) for top in tops):
        return [("model", ["*"], list(keys))] if keys else []
    found: list[tuple[str, list[str], list[str]]] = []
    for top, members in tops.items():
        if top.endswith("."):
            found.append((_name(top[:-1], {name for name, *_ in found}), [top], members))
    loose = [top for top in tops if not top.endswith(".")]
    if loose:
        found.append((_name("parameters", {name for name, *_ in found}), loose, loose))
    return found


def _name(prefix: str, taken: set[str]) -> str:
    """Return a legal component name near the prefix that no other component has."""
    name = _ILLEGAL.sub("_", prefix)[:50].strip("_") or "part"
    folded = {other.casefold() for other in taken}
    number, free = 1, name
    while free.casefold() in folded or free == REMAINDER:
        number += 1
        free = f"{name}_{number}"
    return free


def _writable(text: str) -> bool:
    """Whether a key can stand in a TOML file and be a pattern that means itself."""
    surrogates = any("\ud800" <= char <= "\udfff" for char in text)
    return bool(text.strip(".")) and "*" not in text and not surrogates
