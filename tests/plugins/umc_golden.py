"""The golden UMC run, its numbers, and ways to save it changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from convcore.engine.conversion import recognise
from convcore.engine.request import Request
from convcore.host.registry import Registry
from convcore.layouts.layout import LayoutMatch

DATA = Path(__file__).parent.parent / "data/umc"
NAME = "umc_umc_MELD-DA_bert-base-uncased_0"
RUN = DATA / "outputs" / NAME
FILE = RUN / "models/pytorch_model.bin"
BERT = DATA / "uncased_L-12_H-768_A-12/config.json"
GOLDEN = dict(np.load(DATA / "golden.npz"))
INPUTS = {name: GOLDEN[f"in_{name}"] for name in ("text", "video", "audio")}
OPTIONS = {"nheads": "4", "text_length": "12", "video_length": "10", "audio_length": "14"}
TEXT = "method_model.backbone.text_embedding.bert."
Edit = Callable[[dict[str, torch.Tensor]], object]


def golden_state() -> dict[str, torch.Tensor]:
    """The golden state dict as torch reads it."""
    return torch.load(FILE, weights_only=True)


def save(folder: Path, edit: Edit = lambda state: None, run: str | None = None) -> Path:
    """Save the golden state dict anew, edited, bare or in a run folder of some name."""
    edited = golden_state()
    edit(edited)
    models = folder / "project/outputs" / (f"{run}/models" if run else "somewhere")
    models.mkdir(parents=True)
    torch.save(edited, models / "pytorch_model.bin")
    return models / "pytorch_model.bin"


def recognised(path: Path, registry: Registry, **config: object) -> LayoutMatch:
    """The match of a checkpoint under some ``--config`` values."""
    texts = {name: str(value) for name, value in config.items()}
    return recognise(Request(path, path / "unused", config=texts), registry)


def origins(path: Path, registry: Registry, **config: object) -> dict[str, tuple[object, str]]:
    """Every setting as (value, origin)."""
    settings = recognised(path, registry, **config).settings
    return {name: (setting.value, setting.origin) for name, setting in settings.items()}


def evidence(path: Path, registry: Registry) -> str:
    """The evidence as one text."""
    return "\n".join(recognised(path, registry).evidence)


def assert_golden(value: np.ndarray, name: str) -> None:
    """Within 1e-5 of the largest value that the origin computed."""
    golden = GOLDEN[name]
    np.testing.assert_allclose(value, golden, rtol=0, atol=1e-5 * np.abs(golden).max())
