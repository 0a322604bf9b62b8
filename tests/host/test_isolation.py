"""A stranger's plugin may be broken in any way; nobody else notices more than a warning.

Every stranger is a distribution of its own (tests/data/plugins), installed by pip.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import EXAMPLE, ROOT, Ran, call
from tests.environments import install_into

STRANGERS = {path.name: path for path in sorted((ROOT / "tests/data/plugins").iterdir())}
With = Callable[..., Ran]

# What convcore plugins says of each that is set aside.
SET_ASIDE = {
    "fails_on_import": "cannot be imported: ModuleNotFoundError: No module named 'a_package",
    "exits_on_import": "ends the program on import: SystemExit: licence expired",
    "wrong_type": "convcore_layouts gave a str where a Layout belongs",
    "wrong_part": "components of a Layout hold a str, not only Component",
    "misspelt_hook": "convcore_layout is no hook of convcore; nearest known name: convcore_layouts",
    "wrong_arguments": "a hook has arguments that convcore does not give",
    "hook_raises": "convcore_targets raised KeyError: 'settings'",
    "other_version": "made for plugin interface 3, this convcore has 2",
    "without_version": "made for plugin interface 1, this convcore has 2",
}
ODD = {
    "prints_on_import": "prints on import",
    "slow_to_import": "to import, which every command pays for",
}


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strangers")
    install_into(folder, *STRANGERS.values())
    return folder


@pytest.fixture
def beside(strangers: Path) -> With:
    """Run a command with the strangers named installed, and no others."""

    def run(names: list[str], *words: object) -> Ran:
        off = ",".join(name.replace("_", "-") for name in STRANGERS if name not in names)
        path = os.pathsep.join(filter(None, (str(strangers), os.environ.get("PYTHONPATH"))))
        return call(*words, env={"PYTHONPATH": path, "CONVCORE_DISABLE_PLUGINS": off})

    return run


def listed(ran: Ran, name: str) -> dict:
    return next(plugin for plugin in ran.json["plugins"] if plugin["name"] == name)


@pytest.mark.parametrize("name", SET_ASIDE)
def test_a_broken_plugin_is_set_aside_and_said_to_be(beside: With, name: str) -> None:
    told = beside([name], "plugins", "--json")
    shown = beside([name], "plugins")

    assert told.code == shown.code == 0
    assert SET_ASIDE[name] in listed(told, name)["error"]
    assert not listed(told, name)["disabled"]
    assert "set aside" in shown.out
    assert f"-p no:{name}" in shown.out


@pytest.mark.parametrize("name", ODD)
def test_an_odd_plugin_works_and_its_oddity_is_said(beside: With, name: str) -> None:
    told = beside([name], "plugins", "--json")

    plugin = listed(told, name)
    assert plugin["error"] is None
    assert ODD[name] in " ".join(plugin["warnings"])
    assert len(plugin["layouts"]) == 1


def test_all_of_them_together_break_neither_inspect_nor_a_conversion(
    beside: With, tmp_path: Path
) -> None:
    alone = call("inspect", EXAMPLE, "--json").json
    everyone = [name for name in STRANGERS if name != "claims_a_name"]

    looked = beside(everyone, "inspect", EXAMPLE, "--json")
    done = beside(everyone, "convert", EXAMPLE, "-o", tmp_path / "out", "--json")

    assert looked.code == 0, looked.err
    assert json.loads(looked.out) == alone
    assert done.code == 0, done.err
    assert (tmp_path / "out/generator_AB.pth").is_file()
    for name in SET_ASIDE:
        assert f"plugin {name} is set aside" in done.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("layout_raises", "the layout hasty is left out"),
        ("source_raises", "the source hasty is left out"),
        ("told_raises", "plugin told_raises failed after the conversion"),
    ],
)
def test_a_plugin_that_fails_at_work_is_left_out_with_a_warning(
    beside: With, tmp_path: Path, name: str, said: str
) -> None:
    done = beside([name], "convert", EXAMPLE, "-o", tmp_path / "out")

    assert done.code == 0, done.err
    assert said in done.err
    assert name in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("name", "words"), [("layout_raises", "--layout"), ("source_raises", "--source")]
)
def test_asking_for_what_fails_is_an_error_of_its_plugin(
    beside: With, name: str, words: str
) -> None:
    done = beside([name], "inspect", EXAMPLE, words, "hasty")
    explained = beside([name], "-v", "inspect", EXAMPLE, words, "hasty")

    assert done.code == 7
    assert f"plugin {name}" in done.err
    assert f"-p no:{name}" in done.err
    assert "Traceback" not in done.err
    assert f"{name}.py" in explained.err


@pytest.mark.parametrize(
    "words",
    [["--layout", "cyclegan"], ["--source", "lightning"], ["--to", "safetensors"], []],
    ids=["layout", "source", "target", "recognised"],
)
def test_using_a_name_that_two_claim_is_an_error_that_names_both(
    beside: With, tmp_path: Path, words: list[str]
) -> None:
    done = beside(["claims_a_name"], "convert", EXAMPLE, "-o", tmp_path / "out", *words)

    assert done.code == 7
    assert "claims_a_name" in done.err
    assert "convcore_" in done.err
    assert not (tmp_path / "out").exists()


def test_a_claimed_name_leaves_the_rest_alone(beside: With, tmp_path: Path) -> None:
    looked = beside(["claims_a_name"], "inspect", EXAMPLE, "--json")
    other = ROOT / "examples/autoencoder/checkpoint_epoch_5.pth"
    done = beside(["claims_a_name"], "convert", other, "-o", tmp_path / "out")
    off = beside(
        ["claims_a_name"], "-p", "no:claims_a_name", "convert", EXAMPLE, "-o", tmp_path / "b"
    )
    shown = beside(["claims_a_name"], "plugins")

    assert looked.code == 0, looked.err
    assert "2 plugins declare the layout 'cyclegan'" in " ".join(looked.json["evidence"])
    assert done.code == 0, done.err
    assert off.code == 0, off.err
    assert "layout cyclegan is declared by claims_a_name and convcore_cyclegan" in shown.out


def test_two_plugins_of_one_name_both_work(beside: With) -> None:
    both = beside(["twin_one", "twin_two"], "plugins", "--json").json["plugins"]
    one = beside(["twin_one", "twin_two"], "-p", "no:twin-two", "plugins", "--json").json["plugins"]

    twins = [plugin for plugin in both if plugin["name"] == "twin"]
    assert [t["layouts"] for t in twins] == [["first-twin"], ["second-twin"]]
    assert all("-p no:twin-" in t["warnings"][0] for t in twins)
    assert [p["disabled"] for p in one if p["name"] == "twin"] == [False, True]


def test_a_distribution_without_metadata_is_still_listed(tmp_path: Path) -> None:
    info = tmp_path / "nameless-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(
        "[convcore.plugins]\nnameless = not a module\nother = json\n"
    )

    told = call("plugins", "--json", env={"PYTHONPATH": str(tmp_path)})

    assert told.code == 0, told.err
    assert "not of the form package.module" in listed(told, "nameless")["error"]
    assert "made for plugin interface 1" in listed(told, "other")["error"]
