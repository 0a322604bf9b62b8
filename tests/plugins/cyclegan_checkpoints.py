"""Checkpoints of every kind of CycleGAN, made at run time from the facts of their keys."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch

State = dict[str, torch.Tensor]


def linear(state: State, key: str, before: int, after: int) -> None:
    bound = before**-0.5
    state[f"{key}.weight"] = torch.empty(after, before).uniform_(-bound, bound)
    state[f"{key}.bias"] = torch.empty(after).uniform_(-bound, bound)


def norm(state: State, key: str, width: int) -> None:
    state[f"{key}.weight"] = torch.empty(width).uniform_(0.5, 1.5)
    state[f"{key}.bias"] = torch.empty(width).normal_()
    state[f"{key}.running_mean"] = torch.empty(width).normal_()
    state[f"{key}.running_var"] = torch.empty(width).uniform_(0.5, 2.0)
    state[f"{key}.num_batches_tracked"] = torch.tensor(7)


def generator(prefix: str, d: int, hidden: list[int], blocks: int, batch_norm: bool) -> State:
    state: State = {}
    for place, (before, after) in enumerate(itertools.pairwise([d, *hidden])):
        linear(state, f"{prefix}encoder.{4 * place}", before, after)
        if batch_norm:
            norm(state, f"{prefix}encoder.{4 * place + 1}", after)
    for block in range(blocks):
        for index in (0, 4):
            linear(state, f"{prefix}residual_blocks.{block}.block.{index}", hidden[-1], hidden[-1])
            norm(state, f"{prefix}residual_blocks.{block}.block.{index + 1}", hidden[-1])
    back = hidden[::-1]
    for place, (before, after) in enumerate(itertools.pairwise(back)):
        linear(state, f"{prefix}decoder.{4 * place}", before, after)
        if batch_norm:
            norm(state, f"{prefix}decoder.{4 * place + 1}", after)
    linear(state, f"{prefix}decoder.{4 * (len(hidden) - 1)}", back[-1], d)
    return state


def discriminator(prefix: str, d: int, hidden: list[int], batch_norm: bool) -> State:
    state: State = {}
    for place, (before, after) in enumerate(itertools.pairwise([d, *hidden])):
        linear(state, f"{prefix}model.{4 * place}", before, after)
        if batch_norm:
            norm(state, f"{prefix}model.{4 * place + 1}", after)
    linear(state, f"{prefix}model.{4 * len(hidden)}", hidden[-1], 1)
    return state


def current(
    d: int = 6,
    hidden: list[int] | None = None,
    blocks: int = 1,
    batch_norm: bool = True,
    judges: bool = True,
) -> State:
    """A state dict of both generators and, if wanted, both discriminators."""
    torch.manual_seed(11)
    hidden = hidden or [8, 12, 10]
    state = generator("generator_AB.", d, hidden, blocks, batch_norm)
    state |= generator("generator_BA.", d, hidden, blocks, batch_norm)
    if judges:
        state |= discriminator("discriminator_A.", d, [9, 5], batch_norm)
        state |= discriminator("discriminator_B.", d, [9, 5], batch_norm)
    return state


def early(d: int = 9) -> State:
    """A state dict of the early module (``PlMotorModule``), its spectrogram's window included."""
    torch.manual_seed(12)
    state: State = {"spectrogram.window": torch.hann_window(16)}
    for way in ("A_to_B", "B_to_A"):
        prefix = f"generator_{way}."
        for place, (before, after) in enumerate(((d + 1, 64), (64, 128), (128, 256))):
            linear(state, f"{prefix}encoder.{3 * place}", before, after)
            norm(state, f"{prefix}encoder.{3 * place + 2}", after)
        for place, (before, after) in enumerate(((256, 128), (128, 64))):
            linear(state, f"{prefix}decoder.{3 * place}", before, after)
            norm(state, f"{prefix}decoder.{3 * place + 2}", after)
        linear(state, f"{prefix}decoder.6", 64, d)
    for domain in "AB":
        prefix = f"discriminator_{domain}.model."
        for index, before, after in ((0, d + 1, 128), (3, 128, 64), (6, 64, 32), (8, 32, 1)):
            linear(state, f"{prefix}{index}", before, after)
        norm(state, f"{prefix}2", 128)
        norm(state, f"{prefix}5", 64)
    return state


def save(folder: Path, state: State, hyper_parameters: Any = None) -> Path:
    """Write a Lightning checkpoint."""
    content = {"epoch": 1, "global_step": 8, "pytorch-lightning_version": "2.4.0"}
    extra = {} if hyper_parameters is None else {"hyper_parameters": hyper_parameters}
    path = folder / "last.ckpt"
    torch.save({**content, "state_dict": state, **extra}, path)
    return path
