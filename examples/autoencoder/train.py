"""Train a narrow height map autoencoder for seconds and save it as its origin's train.py would.

    python examples/autoencoder/train.py [OUTPUT.pth]

Writes `checkpoint_epoch_5.pth` beside this file (it is committed): the real network's 655 keys at
a 2000th of its size, trained on synthetic hills. Then, for example:

    convcore convert examples/autoencoder/checkpoint_epoch_5.pth -o out --to pth --to onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import mse_loss

from convcore_autoencoder.nets import Decoder, Encoder

EPOCHS, STEPS, BATCH = 6, 24, 8
CONFIG = {
    "data_dir": "synthetic",
    "val_split": 0.0,
    "image_size": 128,
    "height_range": 10.0,
    "latent_dim": 16,
    "input_channels": 1,
    "batch_size": BATCH,
    "num_epochs": EPOCHS,
    "learning_rate": 0.003,
    "weight_decay": 1e-05,
    "optimizer": "AdamW",
    "scheduler": "StepLR",
    "save_frequency": EPOCHS,
    "resume": None,
}


class AutoEncoder(nn.Module):
    """The origin's two networks under its names, with narrow widths."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(
            CONFIG["input_channels"],
            CONFIG["latent_dim"],
            stem=(4, 8),
            planes=(4, 4, 8, 8),
            outputs=(16, 16, 32, 32),
            reduced=(2, 2, 4),
            squeezed=4,
            enhanced=(16, 16),
            fused=8,
            hidden=(32, 24),
            dropout=0.0,  # so narrow a network has nothing to spare
        )
        self.decoder = Decoder(
            CONFIG["latent_dim"],
            CONFIG["input_channels"],
            hidden=(32, 16),
            maps=(16, 8),
            fusion=(16, 16),
            fusion_reduced=2,
            upsampled=16,
            initial=16,
            initial_reduced=2,
            outputs=(16, 12, 8, 8, 8),
            reduced=(2, 2, None, None, None),
            squeezed=(2, 2, 2, 2, 2),
            final=(8, 8, 8, 8),
            final_reduced=2,
            dropout=0.0,
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(image))


def hills(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw height maps (count, 1, 128, 128): two hills, scaled into [-1, 1] as in training."""
    axis = torch.linspace(-1, 1, CONFIG["image_size"])
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    middle = torch.rand(2, count, 2, 1, 1, generator=generator) * 2 - 1
    height = torch.rand(count, 2, 1, 1, generator=generator) * 12
    width = 0.3 + 0.5 * torch.rand(count, 2, 1, 1, generator=generator)
    distance = (y - middle[0]) ** 2 + (x - middle[1]) ** 2
    heights = (height * torch.exp(-distance / width**2)).sum(1, keepdim=True)
    low, high = heights.amin((2, 3), keepdim=True), heights.amax((2, 3), keepdim=True)
    span = (high - low).clamp_min(CONFIG["height_range"])
    return (heights - (low + high) / 2) / span * 2


def main(path: Path) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = AutoEncoder().train()
    optimizer = torch.optim.AdamW(
        model.parameters(), CONFIG["learning_rate"], weight_decay=CONFIG["weight_decay"]
    )
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.5)
    images = hills(4 * BATCH, generator)
    losses: list[float] = []
    for epoch in range(EPOCHS):
        total = 0.0
        for _ in range(STEPS):
            image = images[torch.randperm(len(images), generator=generator)[:BATCH]]
            loss = mse_loss(model(image), image)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) / STEPS
        scheduler.step()
        losses.append(total)
        print(f"epoch {epoch}: loss {total:.4f}")
    # AdamW's moments are three quarters of a real file; this one is kept in the repository.
    moments = {**optimizer.state_dict(), "state": {}}
    checkpoint = {
        "epoch": EPOCHS - 1,  # the origin counts from 0
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": moments,
        "scheduler_state_dict": scheduler.state_dict(),
        "loss": losses[-1],
        "best_loss": min(losses),
        "training_history": {"train_loss": losses, "val_loss": []},
        "config": CONFIG,
    }
    torch.save(checkpoint, path)


if __name__ == "__main__":
    here = Path(__file__).with_name(f"checkpoint_epoch_{EPOCHS - 1}.pth")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else here)
