"""Which layout is chosen where several could claim a file."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch

from convcore.errors import LayoutError
from convcore.host import Registry, load_registry
from convcore.match import match_layout
from convcore.model import Component, Layout
from convcore.read import read_checkpoint

W = torch.ones(2)


def layout(name: str, *prefixes: str) -> Layout:
    parts = [Component(prefix, f"{prefix}.", required=True) for prefix in prefixes]
    return Layout(name, "for a test", parts)


def known(*layouts: Layout) -> Registry:
    return attrs.evolve(load_registry(), layouts={one.name: one for one in layouts})


def save(path: Path, *keys: str) -> Path:
    torch.save(dict.fromkeys(keys, W), path)
    return path


def test_of_two_models_side_by_side_neither_is_chosen(tmp_path: Path) -> None:
    file = save(tmp_path / "m.pt", "a.x", "a.y", "a.z", "b.w")
    registry = known(layout("first", "a"), layout("second", "b"))

    with pytest.raises(LayoutError, match="2 layouts explain") as caught:
        match_layout(read_checkpoint(file, registry), registry)

    assert caught.value.exit_code == 4
    assert any("first" in line and "a.x" in line for line in caught.value.seen)
    assert any("second" in line and "b.w" in line for line in caught.value.seen)
    assert "--layout first" in caught.value.remedy


def test_a_named_layout_takes_its_model_and_leaves_the_rest(tmp_path: Path) -> None:
    file = save(tmp_path / "m.pt", "a.x", "b.w")
    registry = known(layout("first", "a"), layout("second", "b"))

    match = match_layout(read_checkpoint(file, registry), registry, name="second")

    assert {name: list(state) for name, state in match.states.items()} == {
        "b": ["b.w"],
        "remainder": ["a.x"],
    }


def test_a_layout_that_takes_all_of_another_and_more_is_chosen(tmp_path: Path) -> None:
    file = save(tmp_path / "m.pt", "a.x", "b.w", "c.v")
    registry = known(layout("part", "a"), layout("whole", "a", "b"))

    match = match_layout(read_checkpoint(file, registry), registry)

    assert match.layout.name == "whole"


def test_keys_below_a_prefix_nobody_knows_are_told_by_their_layout(tmp_path: Path) -> None:
    file = save(tmp_path / "m.pt", "my.net.a.b.w", "my.net.a.c.x")
    registry = known(layout("first", "a.b", "a.c"), layout("second", "d"))

    with pytest.raises(LayoutError) as caught:
        match_layout(read_checkpoint(file, registry), registry)

    told = [line for line in caught.value.seen if line.startswith("below")]
    assert told == ["below 'my.net.' the keys are those of first: save that part by itself"]


def test_a_layout_that_requires_nothing_does_not_take_a_file_without_its_keys(
    tmp_path: Path,
) -> None:
    file = save(tmp_path / "m.pt", "a.x")
    registry = known(Layout("easy", "for a test", [Component("b", "b.", required=False)]))

    with pytest.raises(LayoutError, match="no known layout"):
        match_layout(read_checkpoint(file, registry), registry)
