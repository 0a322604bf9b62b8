"""Files beside a checkpoint that belong to it: where they are looked for, and which are taken."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from convcore.formats.links import within
from convcore.layouts.layout import Layout
from convcore.sources.source import Checkpoint
from convcore.tensors.opened import note


def find_sidecars(layout: Layout, checkpoint: Checkpoint) -> dict[str, Path]:
    """Find the layout's sidecars in the checkpoint's folder, or one folder up.

    Returns:
        Output name to path, together with the files that the source found.

    Raises:
        SourceError: One is a link that leads out of the folder it was looked for in.
    """
    home = _home(checkpoint)
    found = {}
    for name in layout.sidecars:
        for folder in (home, home.parent):
            if (folder / name).is_file():
                found[name] = folder / name
                break
    found.update(checkpoint.sidecars)
    for sidecar in found.values():
        within(sidecar, _searched(sidecar, home))
        # From here on it may not change, whoever reads it first.
        note(sidecar)
    return found


def told_from_above(sidecars: Mapping[str, Path], checkpoint: Checkpoint) -> list[str]:
    """Say which sidecars lie one folder up, where they might be another training's."""
    above = _home(checkpoint).parent
    return [
        f"{name} was found one folder up, in {above.name or above}: it is taken for that of this "
        "checkpoint; one beside it wins, and moved away none is used"
        for name, path in sidecars.items()
        if path.absolute().parent == above
    ]


def _home(checkpoint: Checkpoint) -> Path:
    path = checkpoint.path
    # Absolute, because the parent of "." is "." again.
    return (path if path.is_dir() else path.parent).absolute()


def _searched(sidecar: Path, home: Path) -> Path:
    """The folder that a sidecar was looked for in: its own where a source looked elsewhere."""
    named = Path(os.path.abspath(sidecar))  # noqa: PTH100 # resolve() would follow the link
    near = (folder for folder in (home, home.parent) if named.is_relative_to(folder))
    return next(near, sidecar.parent)
