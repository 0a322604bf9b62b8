"""What the engine writes beside the targets' files: JSON documents, sidecars, the example."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from convcore.manifest import document as manifest
from convcore.targets.report import Plan
from convcore.targets.target import Artifact, Target
from convcore.targets.weights.files import PIECE, create
from convcore.tensors.local_file import LocalFile

# Written by the engine itself into every output folder.
CONFIG = "model_config.json"
EXAMPLE = "inference_example.py"
ENGINE_FILES = (manifest.NAME, CONFIG, EXAMPLE)


def write_documents(
    plan: Plan,
    folder: Path,
    kept: Sequence[Artifact],
    targets: Mapping[str, Target] | None,
) -> None:
    """Write a plan's documents, copy the checkpoint's sidecars, and render the example.

    Args:
        plan: What is written.
        folder: Where.
        kept: What an earlier run wrote; the example knows it too.
        targets: All there are, by name, for an example; None where there is to be none.
    """
    for name, content in plan.documents.items():
        write(folder / name, manifest.dumps(content))
    for name, path in plan.match.sidecars.items():
        if name not in plan.documents:
            _copy(path, folder / name)
    if targets is not None:
        from convcore.output.example import render

        write(folder / EXAMPLE, render(plan.match, (*plan.artifacts, *kept), targets).encode())


def write(path: Path, data: bytes) -> None:
    """Write a file that is not there yet."""
    with os.fdopen(create(path), "wb") as file:
        file.write(data)


def _copy(source: Path, destination: Path) -> None:
    """Copy a file as it was when it was read for the first time.

    Raises:
        SourceError: It is another now.
    """
    file = LocalFile(source)
    with os.fdopen(create(destination), "wb") as copy:
        for start in range(0, file.size, PIECE):
            copy.write(file.read(start, min(PIECE, file.size - start)))
