"""Source ``lightning``: checkpoints of PyTorch Lightning, from 0.6 to 2.x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convcore import Checkpoint, Input, Source, hookimpl
from convcore.sources import read_selected, state_dict_of

convcore_api = 2

NAME = "lightning"
_VERSION = "pytorch-lightning_version"
# Before 0.8.2 no version was written; these keys only ever stood together in Lightning's files.
_MARKS = (
    {_VERSION},
    {"optimizer_states", "lr_schedulers"},
    {"hparams_name", "hyper_parameters"},
    {"checkpoint_callback_best"},
    {"checkpoint_callback_best_model_score"},
    {"loops", "callbacks"},
)


def read(given: Input) -> Checkpoint | None:
    """Read a Lightning checkpoint; None for a file without Lightning's marks or with ``--key``."""
    tree: Any = given.archive.tree if given.archive else None
    if given.key is not None or not isinstance(tree, Mapping) or "state_dict" not in tree:
        return None
    if not any(marks <= tree.keys() for marks in _MARKS):
        return None
    if not state_dict_of(tree["state_dict"]):
        return None
    version = tree.get(_VERSION)
    evidence = (
        f"Lightning checkpoint, version {version}"
        if isinstance(version, str)
        else "Lightning checkpoint, from before 0.8.2: it names no version"
    )
    return read_selected(given, source=NAME, evidence=(evidence,))


@hookimpl
def convcore_sources() -> list[Source]:
    """Declare the source."""
    return [Source(NAME, "a PyTorch Lightning checkpoint (.ckpt)", read, {"state-dict"})]
