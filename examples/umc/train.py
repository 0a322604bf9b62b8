r"""Train a narrow UMC for seconds and save it as its origin's `run.py --train --save_model` would.

    python examples/umc/train.py [FOLDER]

Writes, beside this file (both are committed), the folder of a tiny BERT and the run folder
`outputs/umc_umc_MELD-DA_bert-base-uncased_0`: the real model's keys with two layers of BERT, a
width of 32 instead of 256, and the lengths and heads of MELD-DA, trained on synthetic scenes of
twelve dialogue acts. The folder's name tells convcore the rest:

    convcore convert examples/umc/outputs/umc_umc_MELD-DA_bert-base-uncased_0 -o out --to onnx \
        --config nheads=8
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from convcore_umc.nets import SequenceEncoder, TextEmbedding

SEED, STEPS, BATCH, ACTS = 0, 24, 16, 12
TEXT, VIDEO, AUDIO = 70, 250, 520  # MELD-DA's lengths
WIDTH, VIDEO_DIM, AUDIO_DIM = 32, 20, 24
RUN = f"umc_umc_MELD-DA_bert-base-uncased_{SEED}"
BERT_FOLDER = "uncased_L-2_H-48_A-4"
BERT = {
    "hidden_act": "gelu",
    "hidden_size": 48,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 80,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": 160,
}


def sequence_encoder(length: int) -> SequenceEncoder:
    encoder = SequenceEncoder(WIDTH, heads=8, layers=1, length=length, causal=True, version=True)
    # the origin saves one number here that it never sets; any bit pattern is met, NaN too
    encoder.embed_positions = nn.Module()
    encoder.embed_positions.register_buffer("_float_tensor", torch.tensor([float("nan")]))
    return encoder


class Backbone(nn.Module):
    """The fusion network under the origin's names."""

    def __init__(self) -> None:
        super().__init__()
        self.text_embedding = TextEmbedding(**BERT)
        self.text_layer = nn.Linear(BERT["hidden_size"], WIDTH)
        self.video_layer = nn.Linear(VIDEO_DIM, WIDTH)
        self.audio_layer = nn.Linear(AUDIO_DIM, WIDTH)
        self.v_encoder = sequence_encoder(VIDEO)
        self.a_encoder = sequence_encoder(AUDIO)
        self.shared_embedding_layer = nn.Sequential(
            nn.GELU(), nn.Dropout(0.1), nn.Linear(WIDTH, WIDTH)
        )
        self.fusion_layer = nn.Sequential(nn.GELU(), nn.Dropout(0.1), nn.Linear(3 * WIDTH, WIDTH))

    def forward(self, text: torch.Tensor, video: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        t = self.text_layer(text)
        v = self.v_encoder(self.video_layer(video))[:, -1]
        a = self.a_encoder(self.audio_layer(audio))[:, -1]
        return self.fusion_layer(torch.cat([t, a, v], dim=-1))


class Model(nn.Module):
    """The backbone and the head on which the contrastive loss acts."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.mlp_head = nn.Sequential(nn.ReLU(), nn.Dropout(0.1), nn.Linear(WIDTH, WIDTH))


class Scenes:
    """Synthetic scenes: an act has its own words, gestures and sounds, under noise."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.video = torch.randn(ACTS, VIDEO_DIM, generator=generator)
        self.audio = torch.randn(ACTS, AUDIO_DIM, generator=generator)

    def draw(self, acts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return text (B, 3, L), video and audio (B, T, features), zero-padded at the end."""
        count = len(acts)
        words = 10 + 12 * acts[:, None] + torch.randint(12, (count, TEXT), generator=self.generator)
        mask = self._used(count, TEXT)
        text = torch.stack([words * mask, mask, torch.zeros_like(words)], dim=1)
        return text, self._noisy(self.video[acts], VIDEO), self._noisy(self.audio[acts], AUDIO)

    def _noisy(self, centre: torch.Tensor, length: int) -> torch.Tensor:
        noise = torch.randn(len(centre), length, centre.shape[1], generator=self.generator)
        return (centre[:, None] + noise) * self._used(len(centre), length)[..., None]

    def _used(self, count: int, length: int) -> torch.Tensor:
        lengths = torch.randint(length // 2, length + 1, (count, 1), generator=self.generator)
        return (torch.arange(length) < lengths).long()


def contrast(views: list[torch.Tensor], temperature: float = 0.2) -> torch.Tensor:
    """NT-Xent over every pair of views: a scene is nearer to itself than to any other."""
    here = torch.arange(len(views[0]))
    unit = [normalize(view, dim=-1) for view in views]
    pairs = [(a, b) for a in unit for b in unit if a is not b]
    return sum(cross_entropy(a @ b.T / temperature, here) for a, b in pairs) / len(pairs)


def train() -> Model:
    torch.manual_seed(SEED)
    scenes = Scenes(torch.Generator().manual_seed(SEED))
    model = Model()
    bert = model.backbone.text_embedding.eval().requires_grad_(False)  # frozen, as in pretraining
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3, weight_decay=0.01)
    for step in range(STEPS):
        acts = torch.randint(ACTS, (BATCH,), generator=scenes.generator)
        text, video, audio = scenes.draw(acts)
        with torch.no_grad():
            words = bert(text)[:, 0]
        silent, blind = torch.zeros_like(audio), torch.zeros_like(video)
        views = [(video, audio), (blind, audio), (video, silent)]
        loss = contrast([model.mlp_head(model.backbone(words, v, a)) for v, a in views])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 8 == 7:
            print(f"step {step + 1}: loss {loss.item():.3f}")
    return model


def save(model: Model, folder: Path) -> None:
    state = {f"method_model.{name}": tensor for name, tensor in model.state_dict().items()}
    # transformers 4.20, which the origin pins, saves this too, before everything else of BERT
    positions = torch.arange(BERT["max_position_embeddings"]).unsqueeze(0)
    key = "method_model.backbone.text_embedding.bert.embeddings.position_ids"
    file = folder / "outputs" / RUN / "models" / "pytorch_model.bin"
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: positions, **state}, file)
    config = folder / BERT_FOLDER / "config.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps({"model_type": "bert", **BERT}, indent=2) + "\n")
    print(f"{file} ({file.stat().st_size:,} bytes, {len(state) + 1} tensors)")


if __name__ == "__main__":
    save(train(), Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
