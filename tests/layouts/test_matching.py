"""Which layout is chosen where several could claim a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import pytest
import torch

from convcore.errors import LayoutError
from convcore.host.registry import Registry, load_registry
from convcore.layouts.layout import Component, Layout, Schema
from convcore.layouts.matching import match_layout
from convcore.sources.reading import read_checkpoint
from convcore.tensors import TensorSpec
from tests.plugins import cyclegan_checkpoints as cyclegan

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


Shown = Mapping[str, TensorSpec]


def with_schema(name: str, schema: Callable[[Shown], Schema], *prefixes: str) -> Layout:
    return attrs.evolve(layout(name, *prefixes), schema=schema)


def ten(*prefixes: str) -> Callable[[Shown], Schema]:
    """A schema of ten keys below each prefix."""
    keys = [f"{prefix}.{n}.weight" for prefix in prefixes for n in range(10)]
    return lambda shown: Schema(dict.fromkeys(keys, (2,)))


def refused(file: Path, registry: Registry) -> tuple[str, ...]:
    with pytest.raises(LayoutError) as caught:
        match_layout(read_checkpoint(file, registry), registry)
    return caught.value.seen


def test_the_layout_that_shares_most_keys_is_told_of_first_with_what_is_missing(
    tmp_path: Path,
) -> None:
    keys = [f"a.{n}.weight" for n in range(9)]
    file = save(tmp_path / "m.pt", *keys, "d.0.weight")
    registry = known(
        with_schema("all-but-one-part", ten("a", "b"), "a", "b"),
        with_schema("one-key", ten("d", "e"), "d", "e"),
        with_schema("nothing", ten("f"), "f"),
    )

    seen = refused(file, registry)

    share = "9 of its 20 keys are there; no tensor of b; missing: a.9.weight"
    assert seen[1:] == (
        f"nearest layout all-but-one-part: {share}",
        "nearest layout one-key: 1 of its 20 keys are there; no tensor of e; "
        "missing: d.1.weight, d.2.weight, d.3.weight, d.4.weight, …",
    )


def test_a_schema_that_cannot_do_without_a_component_keeps_no_other_from_being_told_of(
    tmp_path: Path,
) -> None:
    def strict(shown: Shown) -> Schema:
        raise LayoutError("no a", remedy="give a")

    file = save(tmp_path / "m.pt", "a.x", "b.0.weight")
    registry = known(
        with_schema("strict", strict, "a", "c"), with_schema("second", ten("b", "c"), "b", "c")
    )

    seen = refused(file, registry)

    assert [line.partition(":")[0] for line in seen[1:]] == [
        "nearest layout second",
        "nearest layout strict",
    ]


@pytest.mark.parametrize("judges", [True, False])
def test_wrappers_around_the_networks_inside_are_told(judges: bool, tmp_path: Path) -> None:
    state = {
        key.replace(".", ".module.", 1) if key.startswith("generator") else key: value
        for key, value in cyclegan.current(judges=judges).items()
    }

    seen = refused(cyclegan.save(tmp_path, state), load_registry())

    (told,) = (line for line in seen if line.startswith("without 'module.'"))
    assert "such as generator_AB.module.encoder.0.weight, they are those of cyclegan" in told


def test_one_component_saved_by_itself_is_told_with_its_layout(tmp_path: Path) -> None:
    bare = cyclegan.generator("", 6, [8, 12, 10], 1, True)
    torch.save(bare, tmp_path / "generator_AB.pth")

    seen = refused(tmp_path / "generator_AB.pth", load_registry())

    told = [line for line in seen if "saved without the rest" in line]
    assert len(told) == 1
    assert "those of generator_AB or generator_BA of cyclegan" in told[0]
    assert "the folder with the files of all components" in told[0]


def test_a_schema_that_takes_whatever_is_there_says_nothing_of_a_component(tmp_path: Path) -> None:
    def echo(shown: Shown) -> Schema:
        return Schema({key: spec.shape for key, spec in shown.items() if key.startswith("a.")})

    file = save(tmp_path / "m.pt", *(f"{n}.weight" for n in range(10)))
    registry = known(
        with_schema("echo", echo, "a", "b"), with_schema("exact", ten("c", "d"), "c", "d")
    )

    told = [line for line in refused(file, registry) if "saved without the rest" in line]

    assert len(told) == 1
    assert told[0].startswith("the keys are those of c or d of exact")


@pytest.mark.parametrize(
    "schema",
    [None, lambda shown: Schema({k: s.shape for k, s in shown.items()})],
    ids=["no schema", "a schema of whatever is there"],
)
def test_a_layout_that_takes_anything_never_beats_a_schema_that_fits(
    schema: Callable[[Shown], Schema] | None, tmp_path: Path
) -> None:
    state = {**cyclegan.current(), "perceptual.weight": W}
    file = cyclegan.save(tmp_path, state)
    greedy = Layout("greedy", "for a test", [Component("all", "*")], schema)
    installed = load_registry()
    registry = attrs.evolve(installed, layouts={**installed.layouts, "greedy": greedy})

    match = match_layout(read_checkpoint(file, registry), registry)

    assert match.layout.name == "cyclegan"
    assert list(match.states["remainder"]) == ["perceptual.weight"]


def test_of_two_layouts_without_a_schema_the_one_that_takes_more_is_still_chosen(
    tmp_path: Path,
) -> None:
    file = save(tmp_path / "m.pt", "a.x", "b.w", "c.v")
    registry = known(layout("part", "a"), Layout("greedy", "for a test", [Component("all", "*")]))

    match = match_layout(read_checkpoint(file, registry), registry)

    assert match.layout.name == "greedy"
