"""What a manifest holds an input to: its size, its weights and, on request, its SHA-256."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from convcore.layouts.layout import LayoutMatch
from convcore.targets.weights.files import crc_of, sha256_of
from convcore.tensors import LazyTensor


def fingerprint(state: Mapping[str, LazyTensor]) -> str:
    """SHA-256 over the names, types, shapes and CRC-32s of a component's tensors, see ``lasting``.

    It tells one training's weights from another's, and costs no reading where the container has
    checksums.
    """
    import hashlib

    digest = hashlib.sha256()
    sums: dict[object, int | None] = {}  # names that share their elements are summed once
    for name in sorted(state):
        tensor = state[name]
        if tensor.identity not in sums:
            sums[tensor.identity] = None if tensor.unsupported else crc_of(tensor)
        line = f"{name} {tensor.dtype} {tensor.shape} {sums[tensor.identity]}\n"
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def name_of(path: Path) -> str:
    """A file's own name: a link's target's, but not the digest it has in a Hugging Face cache."""
    name = path.resolve().name
    while path.is_symlink():
        target = path.parent / path.readlink()
        home = target.parent.resolve()
        if home.name == "blobs" and (home.parent / "snapshots").is_dir():
            return path.name
        path = target
    return name


def lasting(match: LayoutMatch, component: str) -> dict[str, LazyTensor]:
    """A component's tensors but those its layout never writes: a file can be held against them."""
    state = match.states.get(component, {})
    return {name: tensor for name, tensor in state.items() if name not in match.dropped}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
    return path.stat().st_size


def digest_of(path: Path) -> str:
    r"""SHA-256 of a file; of a folder, that of the list ``sha256sum`` prints of its files.

    The list is sorted by name: ``find . -type f -printf '%P\n' | sort | xargs sha256sum``.
    """
    if not path.is_dir():
        return sha256_of(path)
    import hashlib

    names = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    lines = "".join(f"{sha256_of(path / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
