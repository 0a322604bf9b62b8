"""What lies beside a file that is given by itself: the other shards, an average."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from convcore.errors import ConvcoreError, SourceError
from convcore.formats.bounded_json import read_json

# A folder with more entries is not a model's; looking through it would take longer than reading.
_MOST = 2_000
_AVERAGED = ("{}_ema", "{}-ema", "ema_{}", "{}_swa")


def is_index(path: Path) -> bool:
    """Whether a file is called as an index of shards is."""
    return path.name.endswith(".index.json")


def refuse_shard(path: Path) -> None:
    """Refuse one shard of a model whose index lies beside it.

    Raises:
        SourceError: It is one; ``--partial`` takes it all the same.
    """
    try:
        with os.scandir(path.parent) as entries:
            found = (Path(entry.path) for entry in islice(entries, _MOST))
            indexes = sorted(each for each in found if is_index(each))
    except OSError:
        return
    for index in indexes:
        names = shard_names(index)
        if path.name in names and len(names) > 1:
            place = sorted(names).index(path.name) + 1
            raise SourceError(
                f"{path.name} is shard {place} of {len(names)} of {index.name}: a part of a model",
                seen=[f"the others: {', '.join(sorted(names - {path.name})[:8])}"],
                remedy=f"name the folder or {index}, or take this part alone with --partial",
            )


def shard_names(index: Path) -> set[str]:
    """The files beside an index of shards that it names; none where it is something else."""
    try:
        content = read_json(index)
    except (ConvcoreError, OSError):
        return set()
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    names = weight_map.values() if isinstance(weight_map, dict) else ()
    return {
        name
        for name in names
        if isinstance(name, str) and Path(name).name == name and (index.parent / name).is_file()
    }


def told(path: Path) -> list[str]:
    """Say where an average of a file's weights lies beside it, by its name."""
    names = [f"{name.format(path.stem)}{path.suffix}" for name in _AVERAGED]
    there = [name for name in names if path.is_file() and path.with_name(name).is_file()]
    return [f"beside it lies {name}, by its name an average, and is not read" for name in there]
