"""Train a small CycleGAN on made-up feature sequences and save what its origin saves.

    python examples/cyclegan/train.py

writes ``last.ckpt`` (a Lightning checkpoint) and ``normalization_params.json`` beside this file;
both are committed, so that every command of the README can be tried at once. Seconds on a CPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

CHANNELS = 40
FRAMES = 24


class Residual(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.block = nn.Sequential(
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(0.2),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
        )

    def forward(self, x):
        return x + self.block(x)


def stack(widths, dropout):
    for before, after in itertools.pairwise(widths):
        yield nn.Linear(before, after)
        yield nn.BatchNorm1d(after)
        yield nn.LeakyReLU(0.2)
        yield nn.Dropout(dropout)


class Generator(nn.Module):
    def __init__(
        self,
        input_dim=40,
        hidden_dims=(128, 256, 128),
        n_residual_blocks=3,
        dropout=0.1,
        use_batch_norm=True,
    ):
        super().__init__()
        assert use_batch_norm, "this example always normalises"
        inner = hidden_dims[-1]
        mirrored = list(reversed(hidden_dims))
        self.encoder = nn.Sequential(*stack([input_dim, *hidden_dims], dropout))
        blocks = [Residual(inner, dropout) for _ in range(n_residual_blocks)]
        self.residual_blocks = nn.Sequential(*blocks)
        last = nn.Linear(mirrored[-1], input_dim)
        self.decoder = nn.Sequential(*stack(mirrored, dropout), last, nn.Tanh())

    def forward(self, x):
        rows = x.flatten(0, -2)
        return self.decoder(self.residual_blocks(self.encoder(rows))).view_as(x)


class Discriminator(nn.Module):
    def __init__(self, input_dim=40, hidden_dims=(128, 256, 128), dropout=0.2, use_batch_norm=True):
        super().__init__()
        assert use_batch_norm, "this example always normalises"
        layers = stack([input_dim, *hidden_dims], dropout)
        self.model = nn.Sequential(*layers, nn.Linear(hidden_dims[-1], 1))

    def forward(self, x):
        return self.model(x.flatten(0, -2))


class CycleGANModule(lightning.LightningModule):
    def __init__(
        self,
        input_dim=40,
        generator_config=None,
        discriminator_config=None,
        learning_rate=2e-4,
        beta1=0.5,
        beta2=0.999,
        lambda_cycle=10.0,
        lambda_identity=5.0,
        use_identity_loss=True,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator_AB = Generator(**generator_config or {})
        self.generator_BA = Generator(**generator_config or {})
        self.discriminator_A = Discriminator(**discriminator_config or {})
        self.discriminator_B = Discriminator(**discriminator_config or {})

    def configure_optimizers(self):
        wanted = self.hparams
        settings = {"lr": wanted.learning_rate, "betas": (wanted.beta1, wanted.beta2)}
        generators = [*self.generator_AB.parameters(), *self.generator_BA.parameters()]
        return [
            torch.optim.Adam(generators, **settings),
            torch.optim.Adam(self.discriminator_A.parameters(), **settings),
            torch.optim.Adam(self.discriminator_B.parameters(), **settings),
        ]

    def training_step(self, batch, _):
        a, b = batch
        of_generators, of_a, of_b = self.optimizers()
        fake_a, fake_b = self.generator_BA(b), self.generator_AB(a)
        loss = fooled(self.discriminator_A(fake_a)) + fooled(self.discriminator_B(fake_b))
        cycle = functional.l1_loss(self.generator_BA(fake_b), a)
        cycle = cycle + functional.l1_loss(self.generator_AB(fake_a), b)
        loss = loss + self.hparams.lambda_cycle * cycle
        if self.hparams.use_identity_loss:
            same = functional.l1_loss(self.generator_BA(a), a)
            same = same + functional.l1_loss(self.generator_AB(b), b)
            loss = loss + self.hparams.lambda_identity * same
        self._step(of_generators, loss)
        self._step(of_a, told_apart(self.discriminator_A, a, fake_a.detach()))
        self._step(of_b, told_apart(self.discriminator_B, b, fake_b.detach()))
        self.log("cycle", cycle, prog_bar=True)

    def _step(self, optimizer, loss):
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


def fooled(score):
    return functional.mse_loss(score, torch.ones_like(score))


def told_apart(discriminator, real, fake):
    real, fake = discriminator(real), discriminator(fake)
    return (fooled(real) + functional.mse_loss(fake, torch.zeros_like(fake))) / 2


def sequences(rng, count, pitch, tilt):
    """Make (count, frames, channels): a few waves over time, coloured differently per domain."""
    time = np.linspace(0, 1, FRAMES)[None, :, None]
    channel = np.linspace(0, 1, CHANNELS)[None, None, :]
    phase, speed = rng.uniform(0, 2 * np.pi, (count, 1, 1)), rng.uniform(1, 3, (count, 1, 1))
    wave = np.sin(2 * np.pi * (speed * time + pitch * channel) + phase)
    return (wave + tilt * channel + 0.1 * rng.standard_normal(wave.shape)).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    lightning.seed_everything(5)
    rng = np.random.default_rng(5)
    domains = {"a": sequences(rng, 128, 1.0, 1.0), "b": sequences(rng, 128, 2.0, -2.0)}
    normalisation = {}
    for name, values in domains.items():
        mean, std = values.mean((0, 1)), values.std((0, 1)) + 1e-8
        domains[name] = (values - mean) / std
        normalisation |= {f"mean_{name}": mean.tolist(), f"std_{name}": std.tolist()}
    module = CycleGANModule(
        input_dim=CHANNELS,
        # As in the origin, neither holds an input_dim: the networks' own default applies.
        generator_config={
            "hidden_dims": [48, 64, 48],
            "n_residual_blocks": 2,
            "dropout": 0.1,
            "use_batch_norm": True,
        },
        discriminator_config={"hidden_dims": [32, 16], "dropout": 0.2, "use_batch_norm": True},
        learning_rate=1e-3,
    )
    pairs = TensorDataset(*(torch.from_numpy(values) for values in domains.values()))
    trainer = lightning.Trainer(
        max_epochs=options.epochs,
        accelerator="cpu",
        deterministic=True,
        logger=False,
        enable_checkpointing=False,  # a checkpoint callback would save this machine's paths
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, DataLoader(pairs, batch_size=16, shuffle=True))
    trainer.save_checkpoint(options.output / "last.ckpt")
    text = json.dumps(normalisation, indent=2)
    (options.output / "normalization_params.json").write_text(text + "\n", encoding="utf-8")
    print(f"cycle loss {trainer.callback_metrics['cycle']:.3f}, saved to {options.output}")


if __name__ == "__main__":
    main()
