"""Train a small ETM for seconds and save it as its origin's `--save_separate` run would.

    python examples/etm/train.py [FOLDER]

Writes the folder `models` beside this file (it is committed): the best and the last weights as
three files each, the decoder's matrices once more, topics of the training rows, vocabulary,
vectorizer and sizes. The data are synthetic: five moods, each with colours and words of its own.

    convcore convert examples/etm/models -o out --to onnx --create-inference-script
    python out/inference_example.py "a calm misty harbour at dawn"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import nn
from torch.nn.functional import mse_loss

from convcore_etm.nets import Full, fuse

SEED, EPOCHS, BATCH, ROWS = 0, 40, 32, 320
SIZES = {"num_topics": 8, "color_dim": 15, "embedding_dim": 8, "hidden_dim": 32}
DROPOUT, KL_WEIGHT = 0.1, 0.01
MATRICES = ("alpha", "rho_color", "rho_text", "lambda_color", "lambda_text")
MOODS = {  # a colour to scatter around, and words to write with
    "calm": ((0.55, 0.70, 0.80), "calm misty harbour dawn water pale blue quiet soft air"),
    "warm": ((0.85, 0.45, 0.20), "warm sunset desert orange spice amber clay glowing fire dusk"),
    "fresh": ((0.40, 0.75, 0.35), "fresh spring garden leaf green mint meadow bright young dew"),
    "noble": ((0.35, 0.15, 0.45), "noble velvet violet evening silk royal plum deep opera wine"),
    "plain": ((0.50, 0.50, 0.48), "plain concrete grey modern office steel clean line urban stone"),
}
FILLERS = ["with", "and", "the", "of", "tones", "colours", "palette", "for", "light", "scene"]


def invent(rng: np.random.Generator) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return palettes (ROWS, 15), a text for each, and a score for each, 0 to 1."""
    palettes, texts, scores = [], [], []
    for _ in range(ROWS):
        base, words = MOODS[rng.choice(list(MOODS))]
        spread = rng.uniform(0.02, 0.15)
        palettes.append(np.clip(np.array(base) + spread * rng.standard_normal((5, 3)), 0, 1))
        chosen = [*rng.choice(words.split(), 7), *rng.choice(FILLERS, 4)]
        texts.append(" ".join(rng.permutation(chosen)))
        scores.append([1 - spread / 0.15])
    return np.float32(palettes).reshape(ROWS, 15), texts, np.float32(scores)


def loss(model: Full, color: torch.Tensor, text: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
    """Return what both sides lose when they are told again by topics drawn from their product."""
    mu, logvar = fuse(model.color_encoder(color), model.text_encoder(text))
    drawn = mu + torch.randn_like(mu) * torch.exp(logvar / 2) if model.training else mu
    again, words, guess = model.decoder(torch.softmax(drawn, dim=-1))
    said = text / text.sum(1, keepdim=True).clamp_min(1e-10)
    unsaid = -(said * torch.log(words + 1e-10)).sum(1).mean()
    divergence = (mu.square() + logvar.exp() - logvar - 1).sum(1).mean() / 2
    return mse_loss(again, color) + unsaid + mse_loss(guess, score) + KL_WEIGHT * divergence


def save(model: Full, folder: Path, prefix: str) -> None:
    """Write the three files and the matrices, the latter as parameters in the decoder's file."""
    for side in ("color", "text"):
        encoder = getattr(model, f"{side}_encoder")
        parts = (f"{side}_encoder", f"{side}_mean", f"{side}_logvar")
        tree = {part: getattr(encoder, part).state_dict() for part in parts}
        torch.save(tree, folder / f"{prefix}{side}_encoder.pth")
    decoder = {name: getattr(model.decoder, name) for name in MATRICES}
    scores = {"score_predictor": model.decoder.score_predictor.state_dict()}
    torch.save({**decoder, **scores}, folder / f"{prefix}decoder.pth")
    (folder / "matrices").mkdir(exist_ok=True)
    for name, matrix in decoder.items():
        torch.save(matrix.detach(), folder / "matrices" / f"{prefix}{name}.pt")


def save_theta(model: Full, path: Path, color: torch.Tensor, text: torch.Tensor) -> None:
    with torch.no_grad():
        torch.save(model.eval()(color, text)[3], path)


def main(folder: Path) -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    palettes, texts, scores = invent(np.random.default_rng(SEED))
    vectorizer = TfidfVectorizer(max_df=0.9, min_df=5, max_features=2000)
    rows = np.float32(vectorizer.fit_transform(texts).toarray())
    joblib.dump(vectorizer, folder / "tfidf_vectorizer.pkl")
    vocabulary = {word: int(column) for word, column in vectorizer.vocabulary_.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, indent=2), encoding="utf-8")

    sizes = {**SIZES, "text_dim": rows.shape[1]}
    model = Full(**sizes)
    for layers in (model.color_encoder.color_encoder, model.text_encoder.text_encoder):
        layers[3], layers[7] = nn.Dropout(DROPOUT), nn.Dropout(DROPOUT)
    model.decoder.score_predictor[2] = nn.Dropout(DROPOUT)
    for name in MATRICES[:3]:
        nn.init.xavier_uniform_(getattr(model.decoder, name))
    data = tuple(map(torch.from_numpy, (palettes, rows, scores)))
    train, held_out = ([part[a:b] for part in data] for a, b in ((0, -40), (-40, None)))
    optimizer, best = torch.optim.Adam(model.parameters(), lr=3e-3), float("inf")
    for _ in range(EPOCHS):
        model.train()
        for batch in torch.randperm(len(train[0])).split(BATCH):
            optimizer.zero_grad()
            loss(model, *(part[batch] for part in train)).backward()
            optimizer.step()
        with torch.no_grad():
            now = loss(model.eval(), *held_out).item()
        if now < best:
            best = now
            save(model, folder, "best_")
            save_theta(model, folder / "best_theta.pt", *train[:2])
    save(model, folder, f"epoch_{EPOCHS}_")
    save_theta(model, folder / "final_theta.pt", *train[:2])
    order = ("num_topics", "color_dim", "text_dim", "embedding_dim", "hidden_dim")
    architecture = {**{name: sizes[name] for name in order}, "dropout": DROPOUT}
    (folder / "model_architecture.json").write_text(json.dumps(architecture, indent=4))
    print(f"held-out loss {best:.4f} at best, {now:.4f} at the end")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "models")
