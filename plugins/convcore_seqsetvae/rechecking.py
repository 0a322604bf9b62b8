"""A start of a finetuning that stands: read back, and held against what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convcore import Artifact, Check, CheckKind, LazyTensor, Reopened
from convcore.formats import read_json
from convcore.targets import weights

DOCUMENT = "transfer.json"
HEAD = "cls_head."
_STATE = "state_dict."


def reopen(folder: Path, artifact: Artifact) -> dict[str, LazyTensor]:
    """Return the tensors of the state dict, by its own keys."""
    found = weights.reopen(folder, artifact)
    return {key.removeprefix(_STATE): t for key, t in found.items() if key.startswith(_STATE)}


def recheck(artifacts: Sequence[Artifact], output: Reopened) -> Iterator[Check]:
    """Hold ``transfer.json`` against the ledger, and what is fresh against its seed's draw."""
    for artifact in artifacts if output.sound else ():
        found, said = reopen(output.folder, artifact), read_json(output.folder / DOCUMENT)
        problems = list(_departures(said, artifact, output, found))
        if not problems and find_spec("torch") is not None:
            problems = [f"{key} is not what the seed draws" for key in _redrawn(said, found)]
        figures = {"problems": problems[:20]} if problems else {}
        yield Check(artifact.path, "transfer", not problems, figures, CheckKind.DOCUMENT)


def _departures(
    said: Any, artifact: Artifact, output: Reopened, found: Mapping[str, LazyTensor]
) -> Iterator[str]:
    """Say where the document departs from ledger and tensors."""
    if not isinstance(said, dict) or type(said.get("seed")) is not int:
        yield f"{DOCUMENT} is not what was written"
        return
    renamed = output.match.checkpoint.renamed if output.match is not None else {}
    names = {original: name for name, original in renamed.items()}
    rows = [row for row in output.rows if row.key is not None]
    taken = {row.key: names.get(row.tensor, row.tensor) for row in rows if row.tensor is not None}
    fresh = [row.key or "" for row in rows if row.tensor is None]
    expected = {
        "file": artifact.path,
        "num_classes": found[f"{HEAD}12.weight"].shape[0],
        "kept": sorted(new for new, old in taken.items() if new == old),
        "renamed": {old: new for new, old in taken.items() if new != old},
        "fresh": sorted(fresh),
        "freeze": sorted(key for key in found if not key.startswith(HEAD)),
        "train": sorted(key for key in found if key.startswith(HEAD)),
    }
    for name, there in expected.items():
        here = said.get(name)
        if (sorted(here) if isinstance(here, list) else here) != there:
            yield f"{DOCUMENT} has another {name} than ledger and tensors"


def _redrawn(said: Mapping[str, Any], found: Mapping[str, LazyTensor]) -> Iterator[str]:
    import torch

    from convcore_seqsetvae.transfer import Transfer, draw

    shapes = {key: found[key].shape for key in said["fresh"]}
    for key, drawn in draw(Transfer({}, {}, shapes, said["seed"], said["num_classes"])).items():
        if not torch.equal(found[key].load(), drawn):
            yield key
