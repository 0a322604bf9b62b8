"""What torch assumed of sizes is told, or refused where nobody declared it; NaN is never proved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import torch
from torch import nn

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import TargetError, VerificationError
from convcore.layouts.graph import Axis, Size
from convcore.targets.report import Report
from tests import small_layouts as small
from tests.small_layouts import graph


class Branching(nn.Module):
    """Right up to a batch of 500, and another function beyond."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * (2 if x.shape[0] > 500 else 1)


class Constant(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(x) * 0 - 1) + 3


class Valid(nn.Module):
    """A convolution without padding, after halves: heights are even, and at least 10."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(nn.functional.avg_pool2d(x, 2)).mean((2, 3))


def converted(tmp_path: Path, network: Callable, **more: object) -> Report:
    options = {name: more.pop(name) for name in ("allow_nan",) if name in more}
    net = attrs.evolve(graph("net", network), **more)
    module = network()
    if options or network is Broken:
        with torch.no_grad():
            module.layer.weight[1, 2] = torch.nan
            module.layer.weight[:, 0] = torch.nan
    path = small.save(tmp_path / "a.pt", {"net": module})
    request = Request(path, tmp_path / "out", ("onnx",), **options)
    return convert(request, small.registry(small.layout(net)))


class Broken(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_a_decision_by_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="net is not right for all sizes of its axes") as caught:
        converted(tmp_path, Branching)

    assert caught.value.seen == ("batch is at most 500: the network decides by its size",)
    assert not (tmp_path / "out").exists()


def test_sizes_that_a_network_needs_are_declared_and_checked(tmp_path: Path) -> None:
    height = Size("height", least=10, multiple=2, check=(24,))
    image = Axis("x", ("batch", 1, height, 12))

    report = converted(tmp_path, Valid, inputs=(image,), outputs=(Axis("y", ("batch", 2)),))

    (check,) = report.checks
    assert check.passed
    assert 10 in [each["sizes"]["height"] for each in check.figures["inputs"]]
    assert 24 in [each["sizes"]["height"] for each in check.figures["inputs"]]


def test_an_output_that_never_changes_is_no_proof(tmp_path: Path) -> None:
    report = converted(tmp_path, Constant)

    (check,) = report.checks
    assert check.passed
    assert not check.figures["proved"]
    assert "the same for every input" in check.figures["unproved"][0]


def test_an_output_of_nothing_but_nan_is_refused_and_its_weight_named(tmp_path: Path) -> None:
    with pytest.raises(VerificationError) as caught:
        converted(tmp_path, Broken)

    assert "NaN for every input" in str(caught.value.as_dict())
    assert "net.layer.weight" in str(caught.value.seen)
    assert "--allow-nan" in caught.value.remedy


def test_nan_that_is_allowed_is_written_and_not_proved(tmp_path: Path) -> None:
    report = converted(tmp_path, Broken, allow_nan=True)

    (check,) = report.checks
    assert (check.passed, check.figures["proved"]) == (True, False)
    assert any("net.layer.weight is NaN" in told for told in report.manifest.evidence)


class HalfBroken(Branching):
    """The first channel is NaN for every input, the others never."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + torch.log(torch.tensor([-1.0, 1.0, 1.0]))


def test_channels_of_nothing_but_nan_are_named_and_not_proved(tmp_path: Path) -> None:
    report = converted(tmp_path, HalfBroken)

    (check,) = report.checks
    assert (check.passed, check.figures["proved"]) == (True, False)
    (told,) = check.figures["unproved"]
    assert told == "1 channel of axis -1 of output y, NaN for every input: 0"
