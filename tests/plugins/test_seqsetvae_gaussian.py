"""The Gaussian head, in torch and in its graph, against its formula in float64."""

from __future__ import annotations

import copy

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from convcore.layouts.graph import Axis, Graph
from convcore_onnx.exporting import export, quiet
from convcore_onnx.surgery import IR_VERSION, optimise
from convcore_seqsetvae import nets

# What clamp(x, 1e-6, 1 - 1e-6) does to a float32 tensor.
LEAST, MOST = (float(np.float32(end)) for end in (1e-6, 1 - 1e-6))


def session_of(module: nn.Module, *inputs: tuple[object, ...]) -> onnxruntime.InferenceSession:
    import onnx_ir as ir

    axes = [Axis(f"x{place}", shape) for place, shape in enumerate(inputs)]
    graph = Graph("g", "g", axes, [Axis("y", ("s",))], lambda: module)
    with quiet():
        model = export(module.eval(), graph, 20).model
        optimise(model)
    model.ir_version = IR_VERSION
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())


def on_both(module: nn.Module, session: onnxruntime.InferenceSession, *inputs: torch.Tensor):
    feeds = {f"x{place}": tensor.numpy() for place, tensor in enumerate(inputs)}
    with torch.no_grad():
        return [module(*inputs).numpy(), session.run(None, feeds)[0]]


class Pooling(nn.Module):
    """From scores and gates, each (1, S), to the log-odds of any."""

    def forward(self, score: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        (yes, no), (weight, without) = nets._sigmoids(score), nets._sigmoids(gate)
        return nets._logit_of_any(yes * weight, no + yes * without)


def formula(score: torch.Tensor, gate: torch.Tensor) -> float:
    """The origin's noisy-or in float64, with the clamps it has in float32."""
    p = (score.double().sigmoid() * gate.double().sigmoid()).clamp(LEAST, MOST)
    q = (1 - torch.log1p(-p).sum().exp()).clamp(LEAST, MOST)
    return torch.log(q / (1 - q)).item()


def scores(made: nets.GaussianHead, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """(S, D), twice, to (S,): the difference of two sums in float64."""
    m, t, prior = (p.double() for p in (made.mu, made.log_tau2, made.log_prior))
    variance = logvar.double().exp()
    one, other = (
        prior[c] - 0.5 * ((variance + (mu.double() - m[c]) ** 2) / t[c].exp() + t[c]).sum(-1)
        for c in (1, 0)
    )
    return one - other


def logits(
    made: nets.GaussianHead, mu: torch.Tensor, logvar: torch.Tensor, minutes: torch.Tensor
) -> np.ndarray:
    score = scores(made, mu[0], logvar[0])
    seen = [mu[0].double(), logvar[0].double(), score[:, None]]
    seen += [minutes[0].double()[:, None]] * made.timed
    gate = copy.deepcopy(made.gate).double()(torch.cat(seen, 1))[:, 0]
    a, k = gate.sigmoid(), made.alpha_logits.double().sigmoid()
    mean = (a * score).sum() / a.sum().clamp(min=LEAST)
    total = (k * mean + (1 - k) * formula(score, gate)).item()
    return np.array([[-total, total]])


def test_the_log_odds_of_any_set_are_exact_over_the_whole_range() -> None:
    module = Pooling()
    session = session_of(module, (1, "s"), (1, "s"))
    generator = torch.Generator().manual_seed(0)
    worst = 0.0

    for spread in (0.1, 1.0, 5.0, 15.0, 60.0, 1000.0):
        for sets in (1, 2, 7, 40):
            for _ in range(40):
                score, gate = spread * torch.randn(2, 1, sets, generator=generator)
                expected = formula(score, gate)
                for found in on_both(module, session, score, gate):
                    worst = max(worst, abs(float(found[0]) - expected) / max(1, abs(expected)))

    assert worst < 1e-6


ENDS = {
    "below": (-50.0, 1),
    "below, many": (-50.0, 400),
    "above": (50.0, 1),
    "above by number": (0.0, 60),
    "just above the least": (-13.8, 1),
    "just below the most": (13.7, 1),
}


@pytest.mark.parametrize(("score", "sets"), ENDS.values(), ids=ENDS)
def test_the_clamps_are_those_of_the_origin(score, sets) -> None:
    module = Pooling()
    inputs = torch.full((1, sets), score), torch.full((1, sets), 50.0)

    expected = formula(*inputs)

    for found in on_both(module, session_of(module, (1, "s"), (1, "s")), *inputs):
        assert abs(float(found[0]) - expected) < 1e-6 * abs(expected)


def test_the_upper_clamp_gives_the_number_that_float32_gives_the_origin() -> None:
    q = torch.ones(1).clamp(1e-6, 1 - 1e-6)

    found = Pooling()(torch.full((1, 3), 50.0), torch.full((1, 3), 50.0))

    assert torch.allclose(found, torch.log(q / (1 - q)), rtol=1e-6, atol=0)


def head(width: int, spread: float, tau: float, *, timed: bool, seed: int) -> nets.GaussianHead:
    torch.manual_seed(seed)
    made = nets.GaussianHead(width, 64, timed=timed).requires_grad_(False)
    made.mu.normal_(0, spread)
    made.log_tau2.normal_(0, 1).mul_(tau)
    made.log_prior.copy_(torch.tensor([0.93, 0.07]).log())
    return made.eval()


HEADS = {
    "equal variances": (0.1, 0.0, False),
    "equal variances, with time": (0.3, 0.0, True),
    "other variances": (0.3, 0.3, False),
    "other variances, with time": (0.3, 0.1, True),
}


@pytest.mark.parametrize(("spread", "tau", "timed"), HEADS.values(), ids=HEADS)
def test_a_head_of_the_default_width_keeps_its_digits(spread, tau, timed) -> None:
    width, worst = 256, 0.0
    for seed in range(2):
        made = head(width, spread, tau, timed=timed, seed=seed)
        session = session_of(made, (1, "s", width), (1, "s", width), (1, "s"))
        generator = torch.Generator().manual_seed(seed)
        for sets in (1, 1, 1, 2, 3, 5, 9, 30):
            mu, logvar = torch.randn(2, 1, sets, width, generator=generator)
            minutes = (2880 * torch.rand(1, sets, generator=generator)).sort().values

            expected = logits(made, mu, logvar, minutes)

            for found in on_both(made, session, mu, logvar, minutes):
                error = np.abs(found - expected).max() / max(1.0, np.abs(expected).max())
                worst = max(worst, float(error))

    assert worst < 1e-5


@pytest.mark.parametrize("tau", [0.0, 1e-3, 0.3, 1.0, 3.0])
def test_the_score_is_the_difference_of_two_log_likelihoods(tau) -> None:
    made = head(256, 0.5, tau, timed=False, seed=1)
    mu, logvar = torch.randn(2, 1, 50, 256, generator=torch.Generator().manual_seed(2))

    found = made.score(mu, logvar)

    expected = scores(made, mu[0], logvar[0])
    # The terms of the sum are rounded, each by its own size; they do not cancel much.
    p = torch.exp(-made.log_tau2.double())
    far = (mu.double().unsqueeze(2) - made.mu).square() + logvar.double().exp().unsqueeze(2)
    parts = (far[..., 1, :] * p[1] - far[..., 0, :] * p[0]).abs().sum(-1)
    assert (found - expected).abs().max() < 1e-7 * parts.max() + 1e-6
