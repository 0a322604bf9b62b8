"""A frozen class on the shared base behaves as attrs' own does."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from convcore.noun import Noun


@attrs.frozen
class Usual:
    name: str
    sizes: tuple[int, ...] = ()
    hidden: Any = attrs.field(default=None, repr=False)
    beside: Any = attrs.field(default=None, eq=False)


@attrs.frozen(eq=False, repr=False)
class Shared(Noun):
    name: str
    sizes: tuple[int, ...] = ()
    hidden: Any = attrs.field(default=None, repr=False)
    beside: Any = attrs.field(default=None, eq=False)


ARGUMENTS: list[dict[str, Any]] = [
    {"name": "a"},
    {"name": "a", "sizes": (1,)},
    {"name": "a", "hidden": 3},
    {"name": "a", "beside": 4},
    {"name": "b", "sizes": (1,), "beside": []},
]


@pytest.mark.parametrize("one", ARGUMENTS, ids=str)
@pytest.mark.parametrize("two", ARGUMENTS, ids=str)
def test_what_is_equal_is_what_attrs_finds_equal(one: dict[str, Any], two: dict[str, Any]) -> None:
    same = Usual(**one) == Usual(**two)

    assert (Shared(**one) == Shared(**two)) is same
    assert (hash(Shared(**one)) == hash(Shared(**two))) is same


@pytest.mark.parametrize("given", ARGUMENTS, ids=str)
def test_it_shows_itself_as_attrs_shows_it(given: dict[str, Any]) -> None:
    assert repr(Shared(**given)) == repr(Usual(**given)).replace("Usual", "Shared")


def test_what_cannot_be_hashed_says_so() -> None:
    for kind in (Usual, Shared):
        with pytest.raises(TypeError, match="unhashable"):
            hash(kind("a", hidden=[]))


def test_another_class_is_never_equal_and_nothing_changes() -> None:
    assert Shared("a") != Usual("a")
    assert Shared("a") != "a"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Shared("a").name = "b"  # type: ignore[misc]
    assert attrs.evolve(Shared("a"), name="b") == Shared("b")
    assert not hasattr(Shared("a"), "__dict__")
