"""Which links are followed: those that lead to a file of the same checkpoint.

What the user names himself may be a link to anything. A file that only lies beside it (a shard, a
sidecar, a part of a folder) may have been put there by whoever packed the folder.
"""

from __future__ import annotations

from pathlib import Path

from convcore.tensors.faults import Malformed

_COPY_IT = "copy it into the folder, or name it yourself"


def within(path: Path, folder: Path) -> Path:
    """Return the file that a path in a checkpoint's folder stands for, to be opened in its place.

    Args:
        path: A file beside or below the checkpoint; it need not exist.
        folder: The checkpoint's folder, links on the way to it allowed.

    Returns:
        The path without links: below ``folder``, or in ``blobs/`` of the same entry of a Hugging
        Face cache (``models--…/snapshots/REVISION/FILE`` leads to ``models--…/blobs/DIGEST``).

    Raises:
        SourceError: A link leads elsewhere, to something that is no file, or in a circle.
    """
    try:
        root, target = folder.resolve(), path.resolve()
    except (OSError, RuntimeError) as error:  # before Python 3.13 a circle is a RuntimeError
        raise Malformed("is a link that leads in a circle", _COPY_IT).at(path) from error
    if not any(target.is_relative_to(place) for place in (root, *_blobs(root))):
        raise Malformed(
            f"is a link to {target}, outside the checkpoint's folder", _COPY_IT, kind="unsafe"
        ).at(path)
    if path.is_symlink() and target.exists() and not target.is_file():
        raise Malformed(f"is a link to {target}, which is no file", _COPY_IT).at(path)
    return target


def _blobs(folder: Path) -> list[Path]:
    """Where the files of a Hugging Face cache's snapshot lie."""
    return [
        place.parent / "blobs"
        for place in (folder, *folder.parents)
        if place.name == "snapshots" and place != folder
    ]
