"""Networks get exactly the tensors of their components, or say which do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convcore.errors import TargetError
from convcore.layouts.graph import Affine
from convcore.targets.networks import build, run, run_exactly, widened
from tests import small_layouts as small
from tests.small_layouts import graph


class Inner(nn.Module):
    """A network with everything below one attribute, as ``model.0.weight``."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), Inner()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x) + self.right(x)


def test_a_network_computes_with_the_weights_of_its_component(tmp_path: Path) -> None:
    torch.manual_seed(1)
    trained, x = Inner().eval(), torch.randn(5, 4)
    match = small.match(small.save(tmp_path / "a.pt", {"net": trained}), graph("net", Inner))

    built = build(graph("net", Inner), match)

    assert torch.equal(built(x), trained(x))
    assert not built.training


def test_several_components_fill_one_submodule_each(tmp_path: Path) -> None:
    torch.manual_seed(2)
    trained, x = Pair().eval(), torch.randn(5, 4)
    both = graph("both", Pair, ("left", "right"))
    path = small.save(tmp_path / "a.pt", {"left": trained.left, "right": trained.right})

    built = build(both, small.match(path, both))

    assert torch.equal(built(x), trained(x))


def test_given_weights_stand_in_for_those_of_the_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(3)
    first, second, x = Inner().eval(), Inner().eval(), torch.randn(5, 4)
    net = graph("net", Inner)
    match = small.match(small.save(tmp_path / "a.pt", {"net": first}), net)
    other = small.match(small.save(tmp_path / "b.pt", {"net": second}), net)

    built = build(net, match, other.states)

    assert torch.equal(built(x), second(x))


def test_counters_may_be_absent(tmp_path: Path) -> None:
    net, path = graph("net", Inner), tmp_path / "a.pt"
    state = {f"net.{k}": v for k, v in Inner().state_dict().items() if "num_batches" not in k}
    torch.save(state, path)

    built = build(net, small.match(path, net))

    assert torch.equal(built.model[0].weight, state["net.model.0.weight"])


def test_every_tensor_that_does_not_fit_is_named(tmp_path: Path) -> None:
    net, path = graph("net", Inner), tmp_path / "a.pt"
    state = {f"net.{key}": value for key, value in Inner().state_dict().items()}
    del state["net.model.1.running_mean"]
    state["net.model.0.bias"] = torch.zeros(7)
    state["net.model.2.weight"] = torch.zeros(1)
    torch.save(state, path)

    with pytest.raises(TargetError) as caught:
        build(net, small.match(path, net))

    assert sorted(caught.value.seen) == [
        "missing: model.1.running_mean (3,)",
        "not of this network: model.2.weight",
        "wrong shape: model.0.bias is (7,), should be (3,)",
    ]


def test_building_leaves_the_callers_random_numbers_alone(tmp_path: Path) -> None:
    net = graph("net", Inner)
    match = small.match(small.save(tmp_path / "a.pt", {"net": Inner()}), net)
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)

    build(net, match)

    assert torch.equal(torch.rand(3), expected)


def test_normalisation_is_put_around_the_network(tmp_path: Path) -> None:
    torch.manual_seed(5)
    trained, x = Inner().eval(), torch.randn(5, 4)
    affine = Affine((1.0, 2.0, 3.0, 4.0), (0.5, 1.0, 2.0, 4.0), (7.0, 8.0, 9.0), (3.0, 2.0, 1.0))
    net = graph("net", Inner, affine=affine)
    match = small.match(small.save(tmp_path / "a.pt", {"net": trained}), net)

    built = build(net, match)

    scaled = (x - torch.tensor([1.0, 2.0, 3.0, 4.0])) / torch.tensor([0.5, 1.0, 2.0, 4.0])
    expected = trained(scaled) * torch.tensor([3.0, 2.0, 1.0]) + torch.tensor([7.0, 8.0, 9.0])
    torch.testing.assert_close(built(x), expected, atol=1e-6, rtol=0)


def test_running_names_the_outputs(tmp_path: Path) -> None:
    net = graph("net", Inner)
    match = small.match(small.save(tmp_path / "a.pt", {"net": Inner()}), net)
    x = torch.randn(2, 4)

    found = run(build(net, match), net, {"x": x.numpy()})

    assert {name: array.shape for name, array in found.items()} == {"y": (2, 3)}


class Tied(nn.Module):
    """One module under two names, and one tensor in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.last = nn.Linear(4, 4, bias=False)
        self.last.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x)))


def test_running_in_float64_leaves_a_network_with_tied_weights_as_it_was() -> None:
    torch.manual_seed(6)
    module, x = Tied().eval().requires_grad_(False), torch.randn(2, 4).numpy()
    before = run(module, graph("net", Tied), {"x": x})

    exact = run_exactly(module, widened(module), graph("net", Tied), {"x": x})

    assert exact is not None
    assert exact["y"].dtype == np.float64
    np.testing.assert_allclose(exact["y"], before["y"], rtol=1e-5, atol=1e-6)
    assert np.array_equal(run(module, graph("net", Tied), {"x": x})["y"], before["y"])
