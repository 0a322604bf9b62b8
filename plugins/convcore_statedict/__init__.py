"""Source ``state-dict``: weights bare, wrapped, side by side, in modules or in several files."""

from __future__ import annotations

from collections.abc import Mapping

from convcore import Checkpoint, Input, LazyTensor, Opaque, Source, hookimpl
from convcore.formats import find_index
from convcore.sources import read_folder, read_selected

convcore_api = 2

NAME = "state-dict"


def read(given: Input) -> Checkpoint | None:
    """Read a file that holds networks, or a folder of such files.

    None for a file whose top is a plain value, and a folder whose files an index names.
    """
    if given.archive is None and not given.path.is_dir():
        return None
    if given.archive is None:
        indexed = not given.only and find_index(given.location)[0] is not None
        return None if indexed else read_folder(given, source=NAME)
    tree = given.archive.tree
    if not isinstance(tree, LazyTensor | Mapping | list | tuple | Opaque):
        return None
    return read_selected(given, source=NAME)


@hookimpl
def convcore_sources() -> list[Source]:
    """Declare the source."""
    return [Source(NAME, "bare or wrapped state dicts, lists of tensors, pickled modules", read)]
