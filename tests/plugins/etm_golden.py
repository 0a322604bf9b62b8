"""The golden ETM model, its numbers, and ways to save it changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convcore.engine.conversion import recognise
from convcore.engine.request import Request
from convcore.host.registry import Registry
from convcore.layouts.layout import LayoutMatch

DATA = Path(__file__).parent.parent / "data/etm"
MODELS = DATA / "models"
FLAT = DATA / "models_traditional/best_model.pth"
GOLDEN = dict(np.load(DATA / "golden.npz"))
TEXTS = [str(text) for text in GOLDEN["in_text_raw"]]
PARTS = ("color_encoder", "text_encoder", "decoder")
MATRICES = ("alpha", "rho_color", "rho_text", "lambda_color", "lambda_text")
Tree = dict[str, Any]


def flat_state() -> OrderedDict[str, torch.Tensor]:
    """The golden state dict as torch reads it."""
    return torch.load(FLAT, weights_only=True)


def separate_state(part: str) -> Tree:
    """One of the golden separate files as torch reads it."""
    return torch.load(MODELS / f"best_{part}.pth", weights_only=True)


def save_separate(
    folder: Path,
    prefix: str = "best_",
    *,
    parts: tuple[str, ...] = PARTS,
    edit: Callable[[str, Tree], object] = lambda part, tree: None,
) -> Path:
    """Save the golden separate files anew under a prefix, edited; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        tree = separate_state(part)
        edit(part, tree)
        torch.save(tree, folder / f"{prefix}{part}.pth")
    return folder


def shifted(by: float) -> Callable[[str, Tree], object]:
    """An edit that makes a set of weights recognisable: ``alpha`` raised by a number."""

    def edit(part: str, tree: Tree) -> None:
        if part == "decoder":
            tree["alpha"] = torch.nn.Parameter(tree["alpha"].detach() + by)

    return edit


def save_flat(
    path: Path, edit: Callable[[dict[str, torch.Tensor]], object] = lambda state: None
) -> Path:
    """Save the golden flat state dict anew, edited."""
    state = flat_state()
    edit(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def save_as_if_on_a_gpu(tree: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save with every storage's location written as ``cuda:0``, as the published files have it."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(tree, path)


def recognised(path: Path, registry: Registry, **config: str) -> LayoutMatch:
    """The match of a checkpoint under some ``--config`` values."""
    return recognise(Request(path, path / "unused", config=config), registry)


def evidence(match: LayoutMatch) -> str:
    """The evidence as one text."""
    return "\n".join(match.evidence)


def alpha(match: LayoutMatch) -> torch.Tensor:
    """The one matrix that tells sets of weights apart."""
    return match.checkpoint.tensors["alpha"].load()


def assert_golden(value: np.ndarray, name: str) -> None:
    """Within 1e-5 of what the origin computed."""
    np.testing.assert_allclose(value, GOLDEN[name], rtol=0, atol=1e-5, strict=True)
