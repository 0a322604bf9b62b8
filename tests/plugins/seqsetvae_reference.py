"""SeqSetVAE written down a second time, on torch's own attention and transformer layers.

An oracle for the tests: it shares no code with the plugin. Formulas as published in
github.com/sxtforreal/SeqSetVAE (c08c0f7; later fusion, pooling and heads).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

State = Mapping[str, torch.Tensor]


def below(state: State, prefix: str) -> dict[str, torch.Tensor]:
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def linear(state: State, key: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, state[f"{key}.weight"], state[f"{key}.bias"])


def norm(state: State, key: str, x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{key}.weight"], state[f"{key}.bias"], eps)


def attend(state: State, key: str, q: torch.Tensor, kv: torch.Tensor, heads: int) -> torch.Tensor:
    layer = nn.MultiheadAttention(q.shape[-1], heads, batch_first=True)
    layer.load_state_dict(below(state, f"{key}."))
    return layer(q, kv, kv)[0].detach()


def mab(state: State, key: str, q: torch.Tensor, kv: torch.Tensor, heads: int) -> torch.Tensor:
    a = norm(state, f"{key}.ln1", attend(state, f"{key}.multihead", q, kv, heads))
    f = linear(state, f"{key}.ff.2", F.gelu(linear(state, f"{key}.ff.0", a)))
    return norm(state, f"{key}.ln2", f)


def posterior(
    state: State, prefix: str, variables: torch.Tensor, values: torch.Tensor, heads: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latent of one set at the last level: mu and logvar, each (B, D)."""
    state = below(state, prefix)
    r = linear(state, "dim_reducer", variables) if "dim_reducer.weight" in state else variables
    x = r / (r.norm(dim=-1, keepdim=True) + 1e-8) * values
    c = F.gelu(norm(state, "embed.1", linear(state, "embed.0", x)))
    level = 0
    while f"encoder_layers.{level}.inducing" in state:
        key = f"encoder_layers.{level}"
        points = state[f"{key}.inducing"].expand(len(c), -1, -1)
        h = mab(state, f"{key}.mab1", points, c, heads)
        c = mab(state, f"{key}.mab2", c, h, heads) + c
        level += 1
    a = c.mean(dim=1)
    a = F.gelu(norm(state, "mu_logvar.1", linear(state, "mu_logvar.0", a)))
    both = linear(state, "mu_logvar.4", a)
    half = both.shape[-1] // 2
    return both[:, :half], both[:, half:].clamp(-10, 10)


def buckets(minutes: torch.Tensor) -> torch.Tensor:
    """Time bucket of each gap, computed as the origin does; ``minutes`` (S,)."""
    gaps = torch.cat([torch.zeros(1), torch.diff(minutes).clamp(min=0.0)])
    edges = torch.logspace(math.log10(0.5), math.log10(24 * 60.0), steps=63)
    return torch.bucketize(torch.log1p(gaps), torch.log1p(edges), right=False)


def hidden(state: State, z: torch.Tensor, minutes: torch.Tensor, heads: int) -> torch.Tensor:
    """(1, S, D) and (1, S) to (1, S, D)."""
    _, sets, width = z.shape
    t = minutes[0]
    position = torch.zeros(sets, width)
    for step in range(sets):
        for pair in range(width // 2):
            angle = step * math.exp(-math.log(10000.0) * 2 * pair / width)
            position[step, 2 * pair] = math.sin(angle)
            position[step, 2 * pair + 1] = math.cos(angle)
    x = F.layer_norm(z + position + state["rel_time_bucket_embed.weight"][buckets(t)], (width,))
    mask = torch.full((sets, sets), -math.inf)
    for query in range(sets):
        for key in range(query + 1):
            lead = max(0.0, (t[key] - t[query]).item())
            slope, tau = state["alibi_slope"].item(), state["time_tau"].item()
            mask[query, key] = -slope * math.log1p(lead / tau)
    index = 0
    while f"transformer.layers.{index}.norm1.weight" in state:
        inner = below(state, f"transformer.layers.{index}.")
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            inner["linear1.weight"].shape[0],
            activation="gelu",
            batch_first=True,
            norm_first=True,
        ).eval()
        layer.load_state_dict(inner)
        x = layer(x, src_mask=mask).detach()  # gradients are on, so torch takes no fast path
        index += 1
    return norm(state, "post_transformer_norm", x, 1e-6)


def later_fusion(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    variance = logvar.exp()
    u = torch.sigmoid(variance.mean(-1, keepdim=True) - 1)
    return mu * (1 + 0.1 * (1 - u) * torch.tanh(variance))


def pooled(h: torch.Tensor, share: float) -> torch.Tensor:
    last = h[0, -1]
    weights = torch.softmax(h[0] @ last, dim=0)
    return (share * last + (1 - share) * weights @ h[0]).unsqueeze(0)


def advanced_head(state: State, f: torch.Tensor) -> torch.Tensor:
    s = below(state, "cls_head.")
    e = F.gelu(norm(s, "feature_enhancer.1", linear(s, "feature_enhancer.0", f)))
    mixed = attend(s, "self_attention", e.unsqueeze(1), e.unsqueeze(1), 8).squeeze(1)
    e = norm(s, "attention_norm", e + mixed)
    p1 = F.gelu(norm(s, "pathway1.1", linear(s, "pathway1.0", e)))
    p2 = F.relu(norm(s, "pathway2.1", linear(s, "pathway2.0", e)))
    w = linear(s, "gate.0", e).softmax(-1)
    y = w[:, :1] * p1 + w[:, 1:] * p2
    y = F.gelu(norm(s, "pre_classifier.1", linear(s, "pre_classifier.0", y)))
    return linear(s, "classifier", y)


def gaussian_head(
    state: State, mu: torch.Tensor, logvar: torch.Tensor, minutes: torch.Tensor | None
) -> torch.Tensor:
    s = below(state, "cls_head.")
    mu, logvar = mu[0], logvar[0]
    ell = [
        -0.5
        * ((logvar.exp() + (mu - s["mu"][c]) ** 2) / s["log_tau2"][c].exp() + s["log_tau2"][c]).sum(
            -1
        )
        + s["log_prior"][c]
        for c in (0, 1)
    ]
    score = ell[1] - ell[0]
    seen = [mu, logvar, score[:, None]] + ([] if minutes is None else [minutes[0][:, None]])
    a = linear(s, "gate.2", F.relu(linear(s, "gate.0", torch.cat(seen, 1)))).sigmoid()[:, 0]
    m = (a * score).sum() / a.sum().clamp(min=1e-6)
    p = (score.sigmoid() * a).clamp(1e-6, 1 - 1e-6)
    q = (1 - torch.log1p(-p).sum().exp()).clamp(1e-6, 1 - 1e-6)
    k = s["alpha_logits"].sigmoid()
    total = k * m + (1 - k) * torch.log(q / (1 - q))
    return torch.stack([-total, total]).unsqueeze(0)
