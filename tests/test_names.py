from __future__ import annotations

import pytest

from convcore.errors import UsageError
from convcore.names import assigner, collisions, legal_component, nearest, shared_prefix

PREFIXES = {
    "one key": (["a.b.weight"], "a.b."),
    "common part ends at a dot": (["enc.layer1.w", "enc.layer10.w"], "enc."),
    "nothing in common": (["alpha", "beta"], ""),
    "a name that starts another": (["net", "net.weight"], ""),
    "no keys": ([], ""),
    "all below one module": (["g.0.weight", "g.0.bias", "g.3.weight"], "g."),
}


@pytest.mark.parametrize(("keys", "expected"), PREFIXES.values(), ids=PREFIXES.keys())
def test_the_shared_prefix_ends_at_a_dot(keys: list[str], expected: str) -> None:
    assert shared_prefix(keys) == expected


def test_the_longest_pattern_owns_a_key() -> None:
    assign = assigner(
        [("enc.", "encoder"), ("enc.out.", "decoder"), ("alpha", "loose"), ("*", "x")]
    )

    owners = [assign(key) for key in ("enc.w", "enc.out.w", "alpha", "alpha2", "other.enc.w")]

    assert owners == ["encoder", "decoder", "loose", "x", "x"]


def test_a_key_without_an_owner_has_none() -> None:
    assert assigner([("enc.", "encoder")])("dec.w") is None


def test_brackets_in_a_pattern_are_letters() -> None:
    assign = assigner([("a[0].*", "first")])

    assert assign("a[0].w") == "first"
    assert assign("a0.w") is None


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "é", "a" * 61, "a.b", "a\n"])
def test_a_name_that_cannot_be_a_file_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="becomes a file name"):
        legal_component(name)


def test_names_that_some_file_systems_confuse_are_found() -> None:
    assert collisions(["A.pth", "b.pth", "a.pth"]) == (("A.pth", "a.pth"),)
    assert collisions(["e\u0301.pth", "\u00e9.pth"]) == (("e\u0301.pth", "\u00e9.pth"),)


def test_the_nearest_name_is_offered() -> None:
    assert nearest("generator_ab", ["generator_AB", "critic"]) == (
        "nearest known name: generator_AB",
    )
    assert nearest("zzz", ["generator_AB"]) == ()
