"""Pretrain and finetune a small SeqSetVAE for seconds, saved as its origin's `train.py` would.

    python examples/seqsetvae/train.py [FOLDER]

Writes `SeqSetVAE_pretrain_batch1.ckpt` and `SeqSetVAE_finetune_batch2.ckpt` (both are committed) on
synthetic patients: sets of lab values at irregular minutes, where the outcome is a drift of one
value over the stay. The Lightning modules have the key names and the hyper-parameters of the real
ones; losses are simpler. As in the origin, finetuning takes over everything but the time embedding,
so that it runs on a new, random one. From there:

    cd examples/seqsetvae
    convcore convert SeqSetVAE_finetune_batch2.ckpt -o finetuned --to onnx
    convcore convert SeqSetVAE_pretrain_batch1.ckpt -o start --to seqsetvae-finetune
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from convcore_seqsetvae.nets import SeedHead, Sequence, SetEncoder, fuse_seed

SEED, PATIENTS = 3, 24
SIZES = {
    "input_dim": 12,
    "reduced_dim": 8,
    "latent_dim": 16,
    "levels": 2,
    "heads": 2,
    "m": 2,
    "ff_dim": 24,
    "transformer_heads": 4,
    "transformer_layers": 2,
}
TRAINING = {"beta": 0.1, "lr": 2e-3, "free_bits": 0.03, "warmup_beta": True, "max_beta": 0.05,
            "beta_warmup_steps": 8000}  # fmt: skip
PRETRAINING = {"transformer_dropout": 0.15, "time_num_frequencies": 64}
FINETUNING = {"num_classes": 2, "pretrained_ckpt": None, "w": 3.0, "kl_annealing": True,
              "skip_pretrained_on_resume": False, "use_focal_loss": True, "focal_gamma": 3.0,
              "focal_alpha": 0.35}  # fmt: skip
Patient = tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor, torch.Tensor]


class Mixing(nn.Module):
    """Attention, norm, feed-forward, norm, on torch's own attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.multihead = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ff = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        return self.ln2(self.ff(self.ln1(self.multihead(query, memory, memory)[0])))


class Induced(nn.Module):
    def __init__(self, width: int, heads: int, points: int) -> None:
        super().__init__()
        self.inducing = nn.Parameter(torch.randn(points, width))
        self.mab1, self.mab2 = Mixing(width, heads), Mixing(width, heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mab2(x, self.mab1(self.inducing.expand(len(x), -1, -1), x))


class Pooling(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.mab = Mixing(width, heads)
        self.ff = nn.Linear(width, width)
        self.ln = nn.LayerNorm(width)


class Bottleneck(nn.Module):
    """Grows a set of `count` elements out of one vector, starting from random seeds."""

    def __init__(self, width: int, heads: int, points: int) -> None:
        super().__init__()
        self.isab = Induced(width, heads, points)
        self.pma = Pooling(width, heads)

    def forward(self, x: torch.Tensor, count: int) -> torch.Tensor:
        seeds = torch.randn(len(x), count, x.shape[-1])
        memory = self.pma.ln(functional.gelu(self.pma.ff(self.isab(x))))
        return self.pma.mab(seeds, memory) + seeds


def bottlenecks(sizes: dict[str, Any]) -> nn.ModuleList:
    arguments = (sizes["latent_dim"], sizes["heads"], sizes["m"])
    return nn.ModuleList(Bottleneck(*arguments) for _ in range(sizes["levels"]))


class SetVAE(SetEncoder):
    """The set encoder with the decoder of its own that SeqSetVAE carries along."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        names = ("input_dim", "reduced_dim", "latent_dim", "levels", "heads", "m")
        super().__init__(*(sizes[name] for name in names))
        for module in self.modules():
            if hasattr(module, "in_proj_weight"):
                nn.init.xavier_uniform_(module.in_proj_weight)
            if hasattr(module, "inducing"):
                nn.init.normal_(module.inducing)
        self.decoder_layers = bottlenecks(sizes)
        self.out = nn.Sequential(nn.Linear(sizes["latent_dim"], sizes["reduced_dim"]), nn.Tanh())


class Decoder(nn.Module):
    """Reconstructs a set from its place in the history."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.decoder_layers = bottlenecks(sizes)
        self.out = nn.Linear(sizes["latent_dim"], sizes["reduced_dim"])

    def forward(self, hidden: torch.Tensor, count: int) -> torch.Tensor:
        current = hidden.unsqueeze(1)
        for layer in reversed(self.decoder_layers):
            current = layer(current, count) + current
        return self.out(current)


class SeqSetVAE(pl.LightningModule):
    """What both stages share; torch's own transformer trains, under the same key names."""

    def __init__(self, **hyper: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        width = hyper["latent_dim"]
        layer = nn.TransformerEncoderLayer(width, hyper["transformer_heads"], hyper["ff_dim"], 0.15,
                                           "gelu", batch_first=True, norm_first=True)  # fmt: skip
        layers = hyper["transformer_layers"]
        self.alibi_slope = nn.Parameter(torch.tensor(1.0))
        self.time_tau = nn.Parameter(torch.tensor(60.0))
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.post_transformer_norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder = Decoder(hyper)
        self.rel_time_bucket_embed = nn.Embedding(64, width)

    def history(self, z: torch.Tensor, minutes: torch.Tensor) -> torch.Tensor:
        placed = Sequence.place(self, z, minutes)
        mask = nn.Transformer.generate_square_subsequent_mask(z.shape[1])
        return self.post_transformer_norm(self.transformer(placed, mask, is_causal=True))

    @property
    def edges(self) -> torch.Tensor:
        return Sequence(2, 1, 1, 0).edges

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(trained, lr=self.hparams["lr"])


class Pretraining(SeqSetVAE):
    def __init__(self, **hyper: Any) -> None:
        super().__init__(**hyper)
        self.set_encoder = SetVAE(hyper)

    def training_step(self, patient: Patient, _: int) -> torch.Tensor:
        sets, minutes, _ = patient
        posteriors = [self.set_encoder(*one) for one in sets]
        mu, logvar = (torch.stack(part, dim=1) for part in zip(*posteriors, strict=True))
        divergence = 0.5 * (logvar.exp() + mu.square() - 1 - logvar).mean()
        hidden = self.history(mu, minutes)
        loss = self.hparams["max_beta"] * divergence
        for place, (variables, values) in enumerate(sets):
            target = functional.normalize(self.set_encoder.dim_reducer(variables), dim=-1) * values
            distance = torch.cdist(self.decoder(hidden[:, place], values.shape[1]), target)
            loss = loss + distance.amin(1).mean() + distance.amin(2).mean()
        return loss


class Finetuning(SeqSetVAE):
    """Trains the head alone; the fusion parts are never used, as in the origin's working mode."""

    def __init__(self, **hyper: Any) -> None:
        super().__init__(**hyper)
        width = hyper["latent_dim"]
        self.setvae = nn.ModuleDict({"setvae": SetVAE(hyper)})
        self.cls_head = SeedHead(width, hyper["num_classes"])
        pool = nn.MultiheadAttention(width, 4)
        self.feature_fusion = nn.ModuleDict({"attention_pool": pool})
        self.feature_projection = nn.Sequential(nn.Linear(3 * width, width), nn.LayerNorm(width))
        quarter = width // 4
        self.vae_feature_fusion = nn.ModuleDict({
            "mean_projection": nn.Linear(width, width),
            "var_projection": nn.Linear(width, width),
            "fusion_gate": nn.Sequential(nn.Linear(2 * width, width)),
            "uncertainty_calibration": nn.Sequential(
                nn.Linear(width, quarter), nn.ReLU(), nn.Linear(quarter, 1)
            ),
        })  # fmt: skip

    def take_over(self, pretrained: Pretraining) -> None:
        left = ("rel_time_bucket_embed.", "alibi_slope", "time_tau")
        state = {
            name.replace("set_encoder.", "setvae.setvae."): tensor
            for name, tensor in pretrained.state_dict().items()
            if not name.startswith(left)
        }
        self.load_state_dict(state, strict=False)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("cls_head."))

    def training_step(self, patient: Patient, _: int) -> torch.Tensor:
        sets, minutes, label = patient
        with torch.no_grad():
            posteriors = [self.setvae["setvae"](*one) for one in sets]
            mu, logvar = (torch.stack(part, dim=1) for part in zip(*posteriors, strict=True))
            hidden = self.history(fuse_seed(mu, logvar), minutes)
            last = hidden[:, -1:]
            weights = (hidden @ last.mT).softmax(1)
            features = 0.7 * last[:, 0] + 0.3 * (weights * hidden).sum(1)
        return functional.cross_entropy(self.cls_head(features), label)


class Patients(IterableDataset[Patient]):
    """Synthetic stays: the patients of class 1 drift upwards in the first variable."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(SEED)
        table = torch.randn(9, SIZES["input_dim"], generator=generator)  # embedding per variable
        self.patients = [self.draw(table, index % 2, generator) for index in range(PATIENTS)]

    @staticmethod
    def draw(table: torch.Tensor, label: int, generator: torch.Generator) -> Patient:
        count = int(torch.randint(3, 8, (), generator=generator))
        gaps = torch.rand(count, generator=generator) * 240
        sets = []
        for step in range(count):
            chosen = torch.randint(1, len(table), (2 + step % 3,), generator=generator)
            chosen[0] = 0
            values = torch.randn(1, len(chosen), 1, generator=generator)
            values[0, 0] += label * step
            sets.append((table[chosen].unsqueeze(0), values))
        return sets, gaps.cumsum(0).round().unsqueeze(0), torch.tensor([label])

    def __iter__(self) -> Iterator[Patient]:
        return iter(self.patients)


def fit(model: SeqSetVAE, epochs: int, path: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        trainer = pl.Trainer(accelerator="cpu", max_epochs=epochs, gradient_clip_val=1.0,
                             logger=False, enable_checkpointing=False, enable_progress_bar=False,
                             enable_model_summary=False, default_root_dir=scratch)  # fmt: skip
        trainer.fit(model, DataLoader(Patients(), batch_size=None))
        trainer.save_checkpoint(path, weights_only=True)
    print(f"{path} ({path.stat().st_size:,} bytes, {len(model.state_dict())} tensors)")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(SEED)
    pretrained = Pretraining(**SIZES, **TRAINING, **PRETRAINING)
    fit(pretrained, 3, folder / "SeqSetVAE_pretrain_batch1.ckpt")
    finetuned = Finetuning(**SIZES, **TRAINING, **FINETUNING)
    finetuned.take_over(pretrained)
    fit(finetuned, 3, folder / "SeqSetVAE_finetune_batch2.ckpt")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
