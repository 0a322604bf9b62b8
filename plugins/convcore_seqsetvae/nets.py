"""SeqSetVAE's inference networks in plain torch; parameters are named as in its checkpoints.

Source of formulas and names: github.com/sxtforreal/SeqSetVAE, ``modules.py`` and ``model.py`` of
commit c08c0f7 (the "seed" version) and of that line's later history (gated pooling, the advanced
and the Gaussian head), written anew from their description. Dropout is left out, except in the
seed head, the one part that can be trained further.

Means and norms are written as sums, chunks as slices: opset 17 has no ReduceMean or ReduceL2 with
the axes as an input and no Split without sizes, which is what the exporter makes of the others.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

# Edge i of the 64 time buckets, in minutes: the longest gap that is not yet in bucket i + 1. The
# origin compares log1p(gap) with log1p of torch.logspace(log10(0.5), log10(1440), 63), all in
# float32; these are the float32 gaps where that comparison turns, so that no runtime's rounding of
# a logarithm can move a gap (24 hours, for one) into the neighbouring bucket.
TIME_EDGES = (
    0.5, 0.568547368, 0.646492183, 0.735122859, 0.835904419, 0.950502455, 1.08081138, 1.22898495,
    1.39747238, 1.58905828, 1.80691004, 2.0546279, 2.33630633, 2.65660167, 3.02080798, 3.43494511,
    3.9058578, 4.44132996, 5.05021286, 5.7425704, 6.52984715, 7.42505455, 8.4429903, 9.60048008,
    10.9166555, 12.4132719, 14.1150684, 16.0501671, 18.2505646, 20.7526188, 23.5976906, 26.832819,
    30.5114536, 34.6944122, 39.45084, 44.8593445, 51.0093231, 58.0024376, 65.9542618, 74.9962387,
    85.277832, 96.9689636, 110.262932, 125.379395, 142.568237, 162.113586, 184.338501, 209.610336,
    238.346817, 271.022888, 308.17868, 350.428375, 398.470398, 453.09845, 515.21582, 585.849243,
    666.166138, 757.49408, 861.342346, 979.42804, 1113.70251, 1266.38525, 1439.99976,
)  # fmt: skip
# The Gaussian head's clamps: 1e-6, and what float32 makes of 1 - 1e-6, less than 1 by this much.
_LEAST, _REST = 1e-6, 17 * 2.0**-24


def set_norm_eps(network: nn.Module, eps: float) -> None:
    """Let every layer normalisation add this to the variance."""
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps


class Attention(nn.Module):
    """Multi-head attention in plain products, with the parameters of nn.MultiheadAttention.

    torch's fast path reads a float mask with finite entries as a boolean one; this never does.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, query: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Let ``query`` (B, N, D) look at ``memory`` (B, K, D); ``mask`` is added to the scores."""
        q, k, v = (self._projected(x, part) for part, x in enumerate((query, memory, memory)))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        if mask is not None:
            scores = scores + mask
        mixed: torch.Tensor = self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return mixed

    def _projected(self, x: torch.Tensor, part: int) -> torch.Tensor:
        batch, length, width = x.shape
        own = slice(part * width, (part + 1) * width)
        y = functional.linear(x, self.in_proj_weight[own], self.in_proj_bias[own])
        return y.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)


class AttentionBlock(nn.Module):
    """The origin's MAB: attention, norm, feed-forward, norm; no residual anywhere."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.multihead = Attention(width, heads)
        self.ln1 = nn.LayerNorm(width)
        self.ff = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.ln2 = nn.LayerNorm(width)

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """``query`` (B, N, D) and ``memory`` (B, K, D) to (B, N, D)."""
        mixed: torch.Tensor = self.ln2(self.ff(self.ln1(self.multihead(query, memory))))
        return mixed


class InducedBlock(nn.Module):
    """The origin's ISAB: the set is summed up in ``m`` learned points, then looks at them."""

    def __init__(self, width: int, heads: int, points: int) -> None:
        super().__init__()
        self.inducing = nn.Parameter(torch.zeros(points, width))
        self.mab1 = AttentionBlock(width, heads)
        self.mab2 = AttentionBlock(width, heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, n, D) to (B, n, D)."""
        summary = self.mab1(self.inducing.expand(x.shape[0], -1, -1), x)
        mixed: torch.Tensor = self.mab2(x, summary)
        return mixed


class SetEncoder(nn.Module):
    """Posterior of one set of measurements, taken at the last level.

    Args:
        inputs: Width of a variable's embedding, the origin's ``input_dim``.
        reduced: Width after ``dim_reducer``, or None where the model has none.
        width: Latent size D.
        levels: Number of induced attention blocks.
        heads: Attention heads; divides D.
        points: Inducing points per block, the origin's ``m``.
        norm_eps: What layer normalisation adds to the variance.
    """

    def __init__(
        self,
        inputs: int,
        reduced: int | None,
        width: int,
        levels: int,
        heads: int,
        points: int,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.dim_reducer = nn.Linear(inputs, reduced) if reduced is not None else nn.Identity()
        self.embed = nn.Sequential(
            nn.Linear(inputs if reduced is None else reduced, width), nn.LayerNorm(width), nn.GELU()
        )
        self.encoder_layers = nn.ModuleList(
            InducedBlock(width, heads, points) for _ in range(levels)
        )
        self.mu_logvar = nn.Sequential(
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Identity(),  # the origin's dropout, which takes the index 3
            nn.Linear(width, 2 * width),
        )
        set_norm_eps(self, norm_eps)

    def forward(
        self, variables: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``variables`` (B, n, inputs) and ``values`` (B, n, 1) to mu and logvar, each (B, D)."""
        reduced = self.dim_reducer(variables)
        length = reduced.square().sum(-1, keepdim=True).sqrt()
        # r / (|r| + 1e-8), scaled: ONNX optimisers take 1e-8 for 0 and would divide 0 by 0.
        unit = reduced * 1e8 / (length * 1e8 + 1)
        content = self.embed(unit * values)
        for block in self.encoder_layers:
            content = block(content) + content
        both = self.mu_logvar(content.sum(1) / content.shape[1])
        width = content.shape[2]
        return both[:, :width], both[:, width:].clamp(-10, 10)


class TransformerLayer(nn.Module):
    """One pre-norm layer, as nn.TransformerEncoderLayer names its parameters."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.linear1 = nn.Linear(width, inner)
        self.linear2 = nn.Linear(inner, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) to (B, S, D); ``mask`` (B, 1, S, S) is added to the scores."""
        normed = self.norm1(x)
        x = x + self.self_attn(normed, normed, mask)
        mixed: torch.Tensor = x + self.linear2(functional.gelu(self.linear1(self.norm2(x))))
        return mixed


class Sequence(nn.Module):
    """A causal transformer over the sets of one patient.

    Args:
        width: Latent size D, even.
        heads: Attention heads; divides D.
        inner: Width of the feed-forward part, the origin's ``ff_dim``.
        layers: Number of layers.
        gated: Whether the checkpoint has ``pooling_gate`` (later versions; used by ``pool``).
        norm_eps: What layer normalisation adds to the variance.
        post_norm_eps: What the one after the transformer adds.
    """

    edges: torch.Tensor

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        layers: int,
        *,
        gated: bool = False,
        norm_eps: float = 1e-5,
        post_norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm_eps = norm_eps
        self.alibi_slope = nn.Parameter(torch.tensor(1.0))
        self.time_tau = nn.Parameter(torch.tensor(60.0))
        self.pooling_gate = nn.Parameter(torch.tensor(0.7)) if gated else None
        stack = nn.ModuleList(TransformerLayer(width, heads, inner) for _ in range(layers))
        self.transformer = nn.ModuleDict({"layers": stack})
        set_norm_eps(self, norm_eps)
        self.post_transformer_norm = nn.LayerNorm(width, eps=post_norm_eps)
        self.rel_time_bucket_embed = nn.Embedding(len(TIME_EDGES) + 1, width)
        self.register_buffer("edges", torch.tensor(TIME_EDGES), persistent=False)

    def forward(self, z: torch.Tensor, minutes: torch.Tensor) -> torch.Tensor:
        """``z`` (B, S, D), one vector per set, and ``minutes`` (B, S) to hidden (B, S, D)."""
        hidden, mask = self.place(z, minutes), self.mask(minutes)
        for layer in self.transformer["layers"].children():
            hidden = layer(hidden, mask)
        normed: torch.Tensor = self.post_transformer_norm(hidden)
        return normed

    def place(self, z: torch.Tensor, minutes: torch.Tensor) -> torch.Tensor:
        """Add position and time gap to ``z`` and normalise: what the transformer gets."""
        sets, width = z.shape[1], z.shape[2]
        steps = torch.arange(sets, device=z.device, dtype=z.dtype).unsqueeze(1)
        channels = torch.arange(0, width, 2, device=z.device, dtype=z.dtype)
        angles = steps * torch.exp(channels * (-math.log(10000.0) / width))
        position = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        before = torch.cat([minutes[:, :1], minutes[:, :-1]], dim=1)  # the first gap is 0
        gap = (minutes - before).clamp(min=0).unsqueeze(-1)
        bucket = (gap > self.edges).sum(-1)
        placed = z + position + self.rel_time_bucket_embed(bucket)
        return functional.layer_norm(placed, (width,), eps=self.norm_eps)

    def mask(self, minutes: torch.Tensor) -> torch.Tensor:
        """Scores to add, (B, 1, S, S): -inf for later sets; exactly 0 where minutes are sorted."""
        steps = torch.arange(minutes.shape[1], device=minutes.device)
        lead = (minutes.unsqueeze(1) - minutes.unsqueeze(2)).clamp(min=0)  # key after query
        bias = -self.alibi_slope * torch.log1p(lead / self.time_tau)
        later = steps.unsqueeze(0) > steps.unsqueeze(1)
        return bias.masked_fill(later, -math.inf).unsqueeze(1)

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        """Mix the last set with a mean weighted by likeness to it: (B, S, D) to (B, D)."""
        last = hidden[:, -1]
        weights = (hidden @ last.unsqueeze(-1)).softmax(dim=1)
        pooled = (weights * hidden).sum(1)
        share = 0.7 if self.pooling_gate is None else self.pooling_gate.sigmoid()
        return share * last + (1 - share) * pooled


def fuse_seed(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """What the seed version's transformer gets of a posterior (B, S, D), classification only."""
    std = torch.exp(logvar / 2)
    trust = torch.sigmoid(1 - _mean(std))
    return trust * mu * (1 + 0.05 * torch.tanh(std)) + (1 - trust) * mu


def fuse_later(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """What the transformer of the advanced and Gaussian versions gets of a posterior (B, S, D)."""
    variance = torch.exp(logvar)
    doubt = torch.sigmoid(_mean(variance) - 1)
    return mu * (1 + 0.1 * (1 - doubt) * torch.tanh(variance))


def _mean(x: torch.Tensor) -> torch.Tensor:
    """Mean over the last axis, which is kept."""
    return x.sum(-1, keepdim=True) / x.shape[-1]


class SeedHead(nn.Sequential):
    """Three times Linear, LayerNorm, ReLU, dropout, then Linear: (B, D) to (B, classes)."""

    def __init__(self, width: int, classes: int) -> None:
        sizes = (width, width, width // 2, width // 4)
        parts: list[nn.Module] = []
        for before, after, dropped in zip(sizes, sizes[1:], (0.2, 0.2, 0.1), strict=False):
            parts += [nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU(), nn.Dropout(dropped)]
        super().__init__(*parts, nn.Linear(sizes[-1], classes))


class AdvancedHead(nn.Module):
    """Self-attention on the pooled vector, two gated pathways: (B, D) to (B, classes)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 2 // 2
        self.feature_enhancer = _block(width, width, nn.GELU())
        # One position: its attention weight is 1, so the origin's eight heads make no difference.
        self.self_attention = Attention(width, heads=1)
        self.attention_norm = nn.LayerNorm(width)
        self.pathway1 = _block(width, half, nn.GELU())
        self.pathway2 = _block(width, half, nn.ReLU())
        self.gate = nn.Sequential(nn.Linear(width, 2), nn.Softmax(dim=-1))
        self.pre_classifier = _block(half, quarter, nn.GELU())
        self.classifier = nn.Linear(quarter, classes)
        self.aux_classifier = nn.Linear(width, classes)  # a training output: kept, never computed

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pooled features (B, D) to logits (B, classes)."""
        one = self.feature_enhancer(features).unsqueeze(1)
        enhanced = self.attention_norm(one + self.self_attention(one, one)).squeeze(1)
        gate = self.gate(enhanced)
        mixed = gate[:, :1] * self.pathway1(enhanced) + gate[:, 1:] * self.pathway2(enhanced)
        logits: torch.Tensor = self.classifier(self.pre_classifier(mixed))
        return logits


def _block(before: int, after: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after), activation)


class GaussianHead(nn.Module):
    """Each set's posterior against one Gaussian per class, gated and pooled over the sets.

    Args:
        width: Latent size D.
        gate: Hidden width of the gate.
        timed: Whether the gate sees the minutes.
        mixing: Shape of ``alpha_logits``, one value.
    """

    def __init__(self, width: int, gate: int, *, timed: bool, mixing: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.timed = timed
        self.mu = nn.Parameter(torch.zeros(2, width))
        self.log_tau2 = nn.Parameter(torch.zeros(2, width))
        self.log_prior = nn.Parameter(torch.zeros(2))
        self.alpha_logits = nn.Parameter(torch.zeros(mixing))
        self.gate = nn.Sequential(
            nn.Linear(2 * width + 1 + timed, gate), nn.ReLU(), nn.Linear(gate, 1)
        )

    def forward(
        self, mu: torch.Tensor, logvar: torch.Tensor, minutes: torch.Tensor
    ) -> torch.Tensor:
        """Posteriors (B, S, D), twice, and ``minutes`` (B, S) to logits (B, 2)."""
        score = self.score(mu, logvar)
        seen = [mu, logvar, score.unsqueeze(-1)]
        if self.timed:
            seen.append(minutes.unsqueeze(-1))
        weight, without = _sigmoids(self.gate(torch.cat(seen, dim=-1)).squeeze(-1))
        mean = (weight * score).sum(1) / weight.sum(1).clamp(min=_LEAST)
        positive, negative = _sigmoids(score)
        several = _logit_of_any(positive * weight, negative + positive * without)
        share, others = _sigmoids(self.alpha_logits.reshape(()))
        total = share * mean + others * several
        return torch.stack([-total, total], dim=-1)

    def score(self, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
        """Log-likelihood of class 1 less that of class 0: (B, S, D), twice, to (B, S).

        The origin sums each class over D and subtracts; hundreds cancel to a few, and what is left
        is rounding. Here the classes are subtracted before the sum, p being 1/exp(log_tau2):
        p1 (mu-m1)^2 - p0 (mu-m0)^2 is (p1-p0) (mu-m)^2 - min(p) (m1-m0)(2 mu-m0-m1), m the mean of
        the class with the larger p, and p1-p0 is (p0+p1) tanh((log_tau2_0-log_tau2_1) / 2).
        """
        m0, m1, t0, t1 = self.mu[0], self.mu[1], self.log_tau2[0], self.log_tau2[1]
        gain = (torch.exp(-t0) + torch.exp(-t1)) * torch.tanh((t0 - t1) / 2)
        around = (mu - torch.where(t1 < t0, m1, m0)).square()
        across = 2 * torch.exp(-torch.maximum(t0, t1)) * (m1 - m0) * (mu - (m0 + m1) / 2)
        spread = gain * (torch.exp(logvar) + around) - across + (t1 - t0)
        return self.log_prior[1] - self.log_prior[0] - 0.5 * spread.sum(-1)


def _sigmoids(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """sigmoid(x) and sigmoid(-x), small ones too with all their digits.

    onnxruntime's Sigmoid has an absolute error of 1e-7, which is several times sigmoid(-17).
    """
    small = torch.exp(-x.abs())
    above, below = 1 / (1 + small), small / (1 + small)
    return torch.where(x > 0, above, below), torch.where(x > 0, below, above)


def _logit_of_any(p: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Log-odds that at least one of S independent events happens: (B, S), twice, to (B,).

    The origin's ``q = 1 - exp(sum(log1p(-p)))`` and ``log(q / (1 - q))``, without the two
    differences of nearly equal numbers: with n = -sum(log1p(-p)), the log-odds are
    log(exp(n) - 1) = n + log(1 - exp(-n)), and 1 - exp(-n) is (1 + exp(-n)) tanh(n / 2). The origin
    clamps p and q to 1e-6 and 1 - 1e-6, in float32; q cannot fall below the least p.

    Args:
        p: Probability of each event.
        rest: 1 - p, computed without that difference.
    """
    likely = -torch.log(rest.clamp(min=_REST))
    unlikely = -_log_of_rest(p.clamp(_LEAST, 0.5))
    n = torch.where(p < 0.5, unlikely, likely).sum(1).clamp(max=-math.log(_REST))
    return n + torch.log((1 + torch.exp(-n)) * torch.tanh(n / 2))


def _log_of_rest(p: torch.Tensor) -> torch.Tensor:
    """log1p(-p) for p in [1e-6, 0.5], as exact where ONNX, which has no log1p, computes it.

    Source: D. Goldberg, What Every Computer Scientist Should Know About Floating-Point Arithmetic
    (1991), theorem 4.
    """
    rest = 1 - p
    return torch.log(rest) * (-p / (rest - 1))


class Finetuned(nn.Module):
    """From the posteriors of a patient's sets to hidden states, logits and probabilities.

    Args:
        sequence: The transformer.
        classifier: A ``SeedHead``, ``AdvancedHead`` or ``GaussianHead``.
    """

    def __init__(self, sequence: Sequence, classifier: nn.Module) -> None:
        super().__init__()
        self.sequence = sequence
        self.classifier = classifier
        set_norm_eps(classifier, sequence.norm_eps)

    def forward(
        self, mu: torch.Tensor, logvar: torch.Tensor, minutes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``mu``, ``logvar`` (B, S, D), ``minutes`` (B, S) to (B, S, D), (B, C) and (B, C)."""
        fuse = fuse_seed if isinstance(self.classifier, SeedHead) else fuse_later
        hidden = self.sequence(fuse(mu, logvar), minutes)
        if isinstance(self.classifier, GaussianHead):
            logits = self.classifier(mu, logvar, minutes)
        else:
            logits = self.classifier(self.sequence.pool(hidden))
        return hidden, logits, logits.softmax(-1)
