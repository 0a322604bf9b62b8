"""The formats convcore comes with; the plugin ``convcore_formats`` declares them.

Their readers are imported when the first file of theirs is opened: most commands open none, and
hardly one opens files of every kind.
"""

from __future__ import annotations

from functools import partial

from convcore.formats import hf_shards, marks
from convcore.formats.archive import Archive
from convcore.formats.format import Format, FormatSession
from convcore.formats.location import Location


def _open_torch(name: str, location: Location, session: FormatSession) -> Archive:
    from convcore.formats.torch_file import open_torch

    return open_torch(name, location, session)


def _open_safetensors(location: Location, session: FormatSession) -> Archive:
    from convcore.formats.safetensors import open_safetensors

    return open_safetensors(location, session)


FORMATS = (
    Format(
        "torch-zip",
        "torch.save since 1.6: a zip of one pickle and a record per storage",
        lambda head, _: marks.is_zip(head),
        partial(_open_torch, "torch-zip"),
    ),
    Format(
        "torch-legacy",
        "torch.save before 1.6: a stream of pickles and storages",
        lambda head, _: marks.is_legacy(head),
        partial(_open_torch, "torch-legacy"),
    ),
    Format(
        "torch-tar",
        "torch.save of 0.1: a tar of pickles and storages",
        lambda head, _: marks.is_tar(head),
        partial(_open_torch, "torch-tar"),
    ),
    Format(
        "safetensors",
        "a JSON header and the bytes of all tensors",
        lambda head, _: marks.is_safetensors(head),
        _open_safetensors,
    ),
    Format(
        "hf-shards",
        "several files and an index of their tensors (*.index.json), or a folder with one",
        hf_shards.is_sharded,
        hf_shards.open_shards,
    ),
)
