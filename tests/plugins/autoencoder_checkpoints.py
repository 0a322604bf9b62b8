"""AutoEncoder checkpoints of every shape the origin and its users write, and ways to read them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.host.registry import load_registry
from convcore.layouts.layout import LayoutMatch
from convcore.layouts.matching import match_layout
from convcore.sources.reading import read_checkpoint
from convcore.targets.report import Report
from tests.plugins.autoencoder_reference import narrow_shapes

State = dict[str, torch.Tensor]
CONFIG = {"image_size": 64, "latent_dim": 48, "input_channels": 1, "height_range": 10.0}


def checkpoint(state: State, **config: object) -> dict[str, Any]:
    """The dict that the origin's train.py saves."""
    return {
        "epoch": 15,
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {}, "param_groups": []},
        "scheduler_state_dict": None,
        "loss": 0.05,
        "best_loss": 0.04,
        "training_history": {"train_loss": [0.2], "val_loss": []},
        "config": {**CONFIG, **config},
    }


def encoder_of(state: State, prefix: str = "") -> State:
    return OrderedDict(
        (prefix + key.removeprefix("encoder."), value)
        for key, value in state.items()
        if key.startswith("encoder.")
    )


def extracted(state: State) -> dict[str, Any]:
    """The dict that the origin's extract_encoder.py saves."""
    return {
        "encoder_state_dict": encoder_of(state),
        "model_config": {"input_channels": 1, "latent_dim": 48, "model_type": "…"},
        "extracted_from": "/home/somebody/checkpoint_epoch_15.pth",
        "extraction_info": {"total_params": 1, "trainable_params": 1, "num_weights": 395},
    }


def backbone(state: State) -> State:
    """A UNet with the encoder as its backbone, and an encoder and decoder of its own."""
    own = {"encoder.0.weight": torch.ones(4, 1, 3, 3), "decoder.up.weight": torch.ones(4, 4)}
    head = {"head.weight": torch.ones(2, 4)}
    return {**own, **encoder_of(state, "sem_encoder.encoder."), **head}


SHAPES_OF_FILES: dict[str, Callable[[State], Any]] = {
    "training-checkpoint": checkpoint,
    "bare-state-dict": lambda state: state,
    "data-parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "extracted": extracted,
    "saved-by-the-interface": lambda state: {
        "encoder_state_dict": encoder_of(state),
        "model_config": {"input_channels": 1, "latent_dim": 48},
        "model_info": {"device": "cpu", "pretrained_path": None},
    },
    "encoder-alone-with-prefix": lambda state: encoder_of(state, "encoder."),
    "encoder-alone-without-prefix": encoder_of,
    "backbone": lambda state: {"epoch": 3, "model_state_dict": backbone(state)},
    "backbone-in-lightning": lambda state: {
        "pytorch-lightning_version": "2.6.0",
        "state_dict": backbone(state),
        "hyper_parameters": {},
        "optimizer_states": [],
        "lr_schedulers": [],
    },
    "no-counters": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
}


def save(tree: Any, path: Path) -> Path:
    torch.save(tree, path)
    return path


def recognise(path: Path, **config: str) -> LayoutMatch:
    """Read a file and find its layout, as ``inspect`` does."""
    registry = load_registry()
    return match_layout(read_checkpoint(path, registry), registry, config=config)


def converted(path: Path, output: Path, *targets: str, **options: Any) -> Report:
    return convert(Request(path, output, targets or ("pth",), **options), load_registry())


def relative(found: Any, expected: Any) -> float:
    """Largest difference, as a share of the largest expected value."""
    found, expected = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


def reshaped(blocks: int, stem: int | None = None, channels: int = 1) -> dict[str, list[int]]:
    """Shapes with fewer bottlenecks per stage, another stem and other image channels."""
    shapes = {}
    for key, shape in narrow_shapes().items():
        if key.startswith("encoder.layer") and int(key.split(".")[2]) >= blocks:
            continue
        if stem and key.startswith("encoder.layer1.0.downsample."):
            continue  # as wide as the stage already: nothing to project
        stem_end = key.startswith(("encoder.stem.3.", "encoder.stem.4.")) and shape
        shapes[key] = [stem, *shape[1:]] if stem and stem_end else list(shape)
    shapes["encoder.stem.0.weight"][1] = channels
    shapes["encoder.layer1.0.conv1.weight"][1] = shapes["encoder.stem.3.weight"][0]
    shapes["decoder.final_conv.9.weight"][0] = shapes["decoder.final_conv.9.bias"][0] = channels
    return shapes
