"""Layouts in TOML: read strictly, drafted from a checkpoint, and never led by what is in one."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import convcore
from convcore.layout_file import read_layout, suggest
from tests.conftest import Ran

GOOD = """
name = "pair"

[components.net]
keys = ["net.", "scale"]

[components.critic]
keys = "critic."
role = "training"
required = false
"""
# What is wrong, and what is said of it.
FAULTS = {
    "unknown key": ('nmae = "x"', "unknown key 'nmae'; nearest known name: name"),
    "unknown key of a component": (
        '[components.a]\nkeys = "a."\nrolle = "training"',
        "components.a: unknown key 'rolle'; nearest known name: role",
    ),
    "no name": ('[components.a]\nkeys = "a."', "name is missing"),
    "no components": ('name = "x"', "components is missing"),
    "no keys": ('name = "x"\n[components.a]\nrole = "training"', "components.a: keys is missing"),
    "wrong role": (
        'name = "x"\n[components.a]\nkeys = "a."\nrole = "discriminator"',
        "components.a.role: 'discriminator' is none of inference, training",
    ),
    "component that is a path": (
        'name = "x"\n[components."../a"]\nkeys = "a."',
        "'../a' cannot be a component's name",
    ),
    "file that is a path": (
        'name = "x"\nstate_dict_file = "../x.pth"\n[components.a]\nkeys = "a."',
        "'../x.pth' is no plain file name",
    ),
    "sidecar that is a path": (
        'name = "x"\nsidecars = ["/etc/passwd"]\n[components.a]\nkeys = "a."',
        "'/etc/passwd' is no plain file name",
    ),
    "wrong type": ('name = 3\n[components.a]\nkeys = "a."', "name: a text belongs here, not 3"),
    "network that is no name": (
        'name = "x"\n[components.a]\nkeys = "a."\n[graphs.a]\nnetwork = "os.system(1)"\n'
        'inputs = [{name="x",shape=[1]}]\noutputs = [{name="y",shape=[1]}]',
        "'os.system(1)' is not of the form package.module:Callable",
    ),
    "graph of an unknown component": (
        'name = "x"\n[components.abc]\nkeys = "a."\n[graphs.abd]\n'
        'inputs = [{name="x",shape=[1]}]\noutputs = [{name="y",shape=[1]}]',
        "there is no component 'abd'; nearest known name: abc",
    ),
    "no TOML": ("name = ", "cannot be read as TOML"),
    "no text": ("\udcff", "cannot be read as TOML"),
}


def written(folder: Path, text: str) -> Path:
    path = folder / "layout.toml"
    path.write_bytes(textwrap.dedent(text).encode("utf-8", "surrogateescape"))
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    state = {"net.0.weight": torch.ones(2, 3), "net.0.bias": torch.zeros(2)}
    state |= {"scale": torch.tensor(2.0), "critic.weight": torch.ones(1, 2)}
    torch.save(state, tmp_path / "last.pt")
    return tmp_path / "last.pt"


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_refused_in_words(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(convcore.UsageError) as refused:
        read_layout(written(tmp_path, text))

    assert said in " ".join((refused.value.what, *refused.value.seen))


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, 'nmae = "x"\nsidecars = 3\n[components.a]\nrole = "x"')

    with pytest.raises(convcore.UsageError) as refused:
        read_layout(path)

    assert len(refused.value.seen) == 5


def test_a_file_of_one_s_own_splits_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    layout = written(tmp_path, GOOD)

    report = convcore.convert(checkpoint, tmp_path / "out", layout_file=layout)

    state = torch.load(tmp_path / "out/net.pth", weights_only=True)
    assert report.plan.match.layout.name == "pair"
    assert set(state) == {"net.0.weight", "net.0.bias", "scale"}
    assert set(torch.load(tmp_path / "out/critic.pth", weights_only=True)) == {"weight"}


def test_a_file_that_does_not_fit_is_the_first_to_be_told_of(
    checkpoint: Path, tmp_path: Path
) -> None:
    layout = written(tmp_path, 'name = "mine"\n[components.a]\nkeys = ["never."]\n')

    with pytest.raises(convcore.LayoutError) as caught:
        convcore.convert(checkpoint, tmp_path / "out", layout_file=layout)

    told = [said for said in caught.value.seen if said.startswith("nearest layout")]
    assert told[0] == "nearest layout mine: no tensor of a"


def test_a_schema_in_the_file_refuses_what_does_not_fit(checkpoint: Path, tmp_path: Path) -> None:
    shapes = '[shapes]\n"net.0.weight" = ["H", "D"]\n"net.0.bias" = ["D"]\nscale = []\n'
    layout = written(tmp_path, GOOD + shapes + '"critic.weight" = [1, "H"]')

    with pytest.raises(convcore.LayoutError, match="of wrong shape"):
        convcore.convert(checkpoint, tmp_path / "out", layout="pair", layout_file=layout)


@pytest.mark.parametrize("where", ["file", "command line"])
def test_a_network_is_named_by_the_file_or_the_command_line(
    convcore: Callable[..., Ran], tmp_path: Path, where: str
) -> None:
    torch.save({"net.weight": torch.ones(2, 3), "net.bias": torch.zeros(2)}, tmp_path / "a.pt")
    named = 'network = "torch.nn:Linear"' if where == "file" else ""
    layout = written(
        tmp_path,
        f"""
        name = "linear"
        [components.net]
        keys = "net."
        [shapes]
        "net.weight" = ["O", "I"]
        "net.bias" = ["O"]
        [graphs.net]
        {named}
        arguments = {{ in_features = "$I", out_features = "$O" }}
        inputs = [{{ name = "x", shape = ["batch", "$I"] }}]
        outputs = [{{ name = "y", shape = ["batch", "$O"] }}]
        """,
    )
    option = [] if where == "file" else ["--config", "network.net=torch.nn:Linear"]
    words = ["convert", tmp_path / "a.pt", "--layout-file", layout, "--to", "onnx"]

    done = convcore(*words, "-o", tmp_path / "out", *option)
    unnamed = convcore(*words, "-o", tmp_path / "b") if option else None

    assert done.code == 0, done.err
    assert (tmp_path / "out/net.onnx").is_file()
    if unnamed is not None:
        assert unnamed.code == 4
        assert "network.net" in unnamed.err


def test_what_a_checkpoint_says_is_never_imported(tmp_path: Path) -> None:
    poison = {"network.net": "antigravity:fly", "network": "antigravity:fly"}
    state = {"net.weight": torch.ones(2, 3)}
    torch.save({"state_dict": state, "hyper_parameters": poison}, tmp_path / "a.pt")
    layout = written(
        tmp_path,
        'name = "x"\n[components.net]\nkeys = "net."\n[graphs.net]\n'
        'inputs = [{name="x",shape=[1]}]\noutputs = [{name="y",shape=[1]}]',
    )

    with pytest.raises(convcore.LayoutError, match="network"):
        convcore.convert(tmp_path / "a.pt", tmp_path / "out", "onnx", layout_file=layout)


@pytest.mark.parametrize(
    "keys",
    [
        ["enc.w", "enc.b", "netD.w", "alpha"],
        ['a"]\n[components.evil]\nkeys = ["x.w', "b\\.w", "\u202ec.w", "d\n.w", "e\x00.w"],
        ["0.weight", "1.weight", "2.bias"],
        ["A.w", "a.w", "remainder.w", "../x.w", "*.w"],
        ["ключ.w", "\U0001f600.w", "con.w"],
    ],
    ids=["plain", "hostile", "sequential", "colliding", "unicode"],
)
def test_a_draft_is_a_layout_that_takes_every_tensor(tmp_path: Path, keys: list[str]) -> None:
    torch.save({key: torch.ones(2) for key in keys}, tmp_path / "a.pt")

    draft = suggest(convcore.open_checkpoint(tmp_path / "a.pt"))
    layout = written(tmp_path, draft)
    found = convcore.inspect(tmp_path / "a.pt", layout="my-layout", layout_file=layout)

    assert draft.isascii()
    assert set(tomllib.loads(draft)["components"]) == set(found.states)
    assert sorted(key for state in found.states.values() for key in state) == sorted(keys)
    assert "remainder" not in found.states


def test_a_draft_gives_discriminators_their_role(checkpoint: Path) -> None:
    draft = tomllib.loads(suggest(convcore.open_checkpoint(checkpoint)))

    roles = {name: part.get("role") for name, part in draft["components"].items()}
    assert roles == {"net": None, "critic": "training", "parameters": None}
