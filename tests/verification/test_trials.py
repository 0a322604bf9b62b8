"""A comparison tries small sizes and large ones, and knows what a run costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convcore.layouts.graph import Axis, Graph
from convcore.targets.networks import run
from convcore.verification.lookups import limits
from convcore.verification.trials import Effort, first_trial, further_trials, inputs_of

NET = nn.Linear(4, 3).eval().requires_grad_(False)
GRAPH = Graph("g", "part", (Axis("x", ("batch", 4)),), (Axis("y", ("batch", 3)),), lambda: NET)


def test_effort_counts_the_multiplications_of_a_run() -> None:
    effort = Effort()

    with effort.watching(NET):
        run(NET, GRAPH, {"x": np.zeros((10, 4), np.float32)})
    run(NET, GRAPH, {"x": np.zeros((10, 4), np.float32)})  # not watched

    assert effort.total == 10 * (3 * 4 + 3)


@pytest.mark.parametrize(("total", "large"), [(100, 517), (1e6, 67), (1e8, 5)])
def test_large_sizes_are_tried_where_they_are_cheap(total: float, large: int) -> None:
    effort = Effort()
    effort.total = total

    tried = [first_trial(GRAPH), *further_trials(GRAPH, effort)]

    assert max(trial.sizes["batch"] for trial in tried) == large
    assert {trial.kind for trial in tried} == {"normal", "zeros", "constant"}
    assert min(trial.sizes["batch"] for trial in tried) == 1


@pytest.mark.parametrize(("total", "threads"), [(100, 1), (1e8, 0)])
def test_small_networks_compute_on_one_thread(total: float, threads: int) -> None:
    effort, before = Effort(), torch.get_num_threads()
    effort.total = total

    with effort.threads() as given:
        assert given == threads
        assert torch.get_num_threads() == (1 if threads else before)

    assert torch.get_num_threads() == before


class Tables(nn.Module):
    """Two columns of integers, each looked up in a table of its own; a third in none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Embedding(7, 2), nn.Embedding(30, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.first(ids[:, 0]) + self.second(ids[:, 1]) + ids[:, 2:]


def test_integers_are_drawn_from_all_rows_of_the_tables_they_are_looked_up_in() -> None:
    module = Tables().eval().requires_grad_(False)
    ids = Axis("ids", ("batch", 3), "int64")
    graph = Graph("g", "part", (ids,), (Axis("y", ("batch", 2)),), lambda: module)

    found = limits(module, graph, {"ids": np.zeros((40, 3), np.int64)})["ids"]
    drawn = inputs_of(first_trial(graph), module, graph)["ids"]

    assert np.array_equal(found, np.tile([7, 30, 100], (40, 1)))
    assert (drawn >= 0).all()
    assert (drawn < [7, 30, 100]).all()
