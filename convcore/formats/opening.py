"""Opening a path as one tree of lazy tensors, by the format whose bytes it has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from convcore.formats.archive import Archive
from convcore.formats.budgets import DEFAULT_BUDGETS, Budgets
from convcore.formats.builtin import FORMATS
from convcore.formats.format import Format, FormatSession
from convcore.formats.location import LocalLocation


def open_archive(
    path: str | Path,
    *,
    allow_opaque_calls: bool = False,
    budgets: Budgets = DEFAULT_BUDGETS,
    formats: Iterable[Format] = FORMATS,
) -> Archive:
    """Open a checkpoint without reading its tensors and without running anything in it.

    Args:
        path: A file of ``torch.save`` (any version) or safetensors, an index file of shards, or a
            folder that holds one.
        allow_opaque_calls: Open files that name code-running callables too; nothing is run.
        budgets: How much the file may ask for.
        formats: What to recognise; what convcore comes with, if not given.

    Raises:
        SourceError: No checkpoint, damaged, or unsafe.
        UsageError: There is no such file, or a folder holds no index.
    """
    session = FormatSession(formats, budgets, allow_opaque_calls)
    return session.open(LocalLocation(Path(path)))
