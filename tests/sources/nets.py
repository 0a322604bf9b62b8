"""Small made-up state dicts for tests of what people put round them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

State = Mapping[str, torch.Tensor]


def net(*sizes: int, norm: bool = False, seed: int = 0) -> dict[str, torch.Tensor]:
    """The state dict of linear layers of these sizes, a batch norm after each if asked."""
    torch.manual_seed(seed + sum(sizes))
    parts: list[nn.Module] = []
    for left, right in pairwise(sizes):
        parts += [nn.Linear(left, right), *([nn.BatchNorm1d(right)] if norm else [])]
    return dict(nn.Sequential(*parts).state_dict())


def average(state: State) -> dict[str, torch.Tensor]:
    """Other numbers under the same names, as an average of weights has."""
    return {k: v * 0.5 + 0.1 if v.is_floating_point() else v.clone() for k, v in state.items()}


def below(prefix: str, state: State) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def momentum(state: State) -> dict[str, Any]:
    """What an optimizer saves after a step."""
    moments = {n: {"exp_avg": v.clone()} for n, v in enumerate(state.values())}
    return {"state": moments, "param_groups": [{"lr": 0.1, "params": list(moments)}]}


def written(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """What the ``.pth`` files of an output hold, by torch's own reader."""
    return {file.stem: torch.load(file, weights_only=True) for file in sorted(folder.glob("*.pth"))}


def same(found: State, expected: State) -> bool:
    """Whether both hold the same names and the same bits."""
    return sorted(found) == sorted(expected) and all(
        torch.equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype
        for name in expected
    )
