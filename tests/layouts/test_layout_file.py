"""Layouts in TOML: read strictly, drafted from a checkpoint, and never led by what is in one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import torch

import convcore
from convcore.layouts.candidates import consider
from convcore.layouts.layout_file.draft import suggest
from convcore.layouts.layout_file.reading import read_layout
from convcore.layouts.matching import assemble, configure
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
    "unknown key of an assumption": (
        'name = "x"\n[components.a]\nkeys = "a."\n[assumes.act]\nvalue = "relu"\nalsoo = ["x"]',
        "assumes.act: unknown key 'alsoo'; nearest known name: also",
    ),
    "assumption of a value outside its interval": (
        'name = "x"\n[components.a]\nkeys = "a."\n[assumes.eps]\nvalue = 2\nbetween = [0, 1]',
        "assumes.eps: its own value is none that the network computes",
    ),
    "assumption for a graph that is not there": (
        'name = "x"\n[components.a]\nkeys = "a."\n[assumes.eps]\nvalue = 2\ngraphs = "b"',
        "assumes.eps: there is no graph 'b'; graphs: none",
    ),
    "keep beside whole names": (
        'name = "x"\n[components.a]\nkeys = "a."\nkeep = "net."\nwhole_names = true',
        "components.a: whole_names keeps all of a name: leave out keep='net.'",
    ),
    "keep of a wrong type": (
        'name = "x"\n[components.a]\nkeys = "a."\nkeep = true',
        "components.a.keep: a text belongs here, not true or false",
    ),
    "keep that is no prefix": (
        'name = "x"\n[components.a]\nkeys = "a."\nkeep = "net"',
        "components.a: keep of a Component is 'net': it takes whole parts of a name",
    ),
    "the same keys twice": (
        'name = "x"\n[components.a]\nkeys = "a."\n[components.b]\nkeys = ["b.", "a."]',
        "components.b: a has the keys 'a.' already",
    ),
    "the same file twice": (
        'name = "x"\n[components.a]\nkeys = "a."\n[components.b]\nkeys = "b."\nfile = "A"',
        "components.b: its files would have the name of those of a",
    ),
    "optional without shapes": (
        'name = "x"\noptional = ["a.w"]\n[components.a]\nkeys = "a."',
        "optional: it says which keys of [shapes] may be absent; there is no [shapes]",
    ),
    "optional key that is none": (
        'name = "x"\noptional = ["a.v"]\n[components.a]\nkeys = "a."\n[shapes]\n"a.w" = [1]',
        "optional: 'a.v' is no key of [shapes]; nearest known name: a.w",
    ),
    "size that no shape has": (
        'name = "x"\n[components.a]\nkeys = "a."\n[shapes]\n"a.w" = ["Din"]\n[graphs.a]\n'
        'inputs = [{name="x",shape=["batch","$Dim"]}]\noutputs = [{name="y",shape=[1]}]',
        "graphs.a: '$Dim' is no size of [shapes] and nothing of [assumes]; nearest known name: Din",
    ),
    "one name for two ends": (
        'name = "x"\n[components.a]\nkeys = "a."\n[graphs.a]\n'
        'inputs = [{name="x",shape=[1]}]\noutputs = [{name="x",shape=[1]}]',
        "graphs.a: 2 inputs and outputs are called 'x'",
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


LINEAR = """
name = "linear"
[components.net]
keys = "net."
[shapes]
"net.weight" = ["O", "I"]
"net.bias" = ["O"]
[graphs.net]
{network}
arguments = {{ in_features = "$I", out_features = "$O" {more} }}
inputs = [{{ name = "x", shape = ["batch", "$I"] }}]
outputs = [{{ name = "y", shape = ["batch", "$O"] }}]
"""


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    state = {"net.weight": torch.ones(2, 3), "net.bias": torch.zeros(2)}
    torch.save({"state_dict": state, "hyper_parameters": {"act": "gelu"}}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_a_network_named_for_one_conversion_is_not_used_by_the_next(
    linear: Path, tmp_path: Path
) -> None:
    layout = read_layout(written(tmp_path, LINEAR.format(network="", more="")))
    checkpoint = convcore.open_checkpoint(linear)
    candidate = consider(layout, checkpoint)
    first = configure(assemble(candidate, checkpoint), {"network.net": "torch.nn:Linear"})
    second = configure(assemble(candidate, checkpoint), {})

    # Told of first by the second conversion, as a command that runs two of them would.
    refusals = [graph.refusal for match in (second, first) for graph in match.graphs()]

    assert refusals == ["nobody says which class computes it", None]


def test_a_network_that_a_manifest_names_is_not_imported(linear: Path, tmp_path: Path) -> None:
    layout = read_layout(written(tmp_path, LINEAR.format(network="", more="")))
    checkpoint = convcore.open_checkpoint(linear)
    match = assemble(consider(layout, checkpoint), checkpoint)

    forged = {"network.net": convcore.Setting("antigravity:fly", "option")}
    (graph,) = attrs.evolve(match, settings=forged).graphs()

    assert graph.refusal == "nobody says which class computes it"


@pytest.mark.parametrize(
    "name",
    ["os:system", "builtins:exec", "torch:load", "torch.nn:functional", "os:environ",
     "tests.small_networks:unannotated", "tests.small_networks:of_a_number",
     "tests.small_networks:READY"],
)  # fmt: skip
def test_what_makes_no_network_is_never_called(linear: Path, tmp_path: Path, name: str) -> None:
    layout = written(tmp_path, LINEAR.format(network=f'network = "{name}"', more=""))

    with pytest.raises(convcore.UsageError, match="it is not called"):
        convcore.convert(linear, tmp_path / "out", "onnx", layout_file=layout)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["torch.nn:Linear", "tests.small_networks:annotated", "tests.small_networks:Small.of"]
)
def test_a_class_or_a_function_that_says_what_it_returns_is_called(
    linear: Path, tmp_path: Path, name: str
) -> None:
    layout = read_layout(written(tmp_path, LINEAR.format(network=f'network = "{name}"', more="")))
    checkpoint = convcore.open_checkpoint(linear)
    (graph,) = configure(assemble(consider(layout, checkpoint), checkpoint), {}).graphs()

    assert isinstance(graph.network(), torch.nn.Linear)


def test_a_module_where_the_user_stands_is_no_network(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "standing.py").write_text("from torch.nn import Linear as Net")
    layout = written(tmp_path, LINEAR.format(network='network = "standing:Net"', more=""))
    words = [sys.executable, "-m", "convcore", "convert", linear, "--layout-file", layout]

    done = subprocess.run([*words, "-o", tmp_path / "out", "--to", "onnx"], cwd=tmp_path,
                          capture_output=True, text=True, check=False)  # fmt: skip

    assert done.returncode == 2
    assert "No module named 'standing'" in done.stderr
    assert "PYTHONPATH" in done.stderr


@pytest.mark.parametrize(
    ("also", "option", "value", "origin"),
    [
        ('also = ["gelu"]', {}, "gelu", "hyper_parameters"),
        ("", {}, None, "unknown"),
        ("", {"act": "relu"}, "relu", "option"),
    ],
    ids=["computed", "not computed", "option"],
)
def test_a_file_says_what_its_network_assumes(
    linear: Path, tmp_path: Path, also: str, option: dict[str, str], value: str, origin: str
) -> None:
    table = f'[assumes.act]\nvalue = "relu"\nstated = "act"\n{also}\n'
    text = LINEAR.format(network='network = "torch.nn:Linear"', more=', device = "$act"') + table
    layout = read_layout(written(tmp_path, text))
    checkpoint = convcore.open_checkpoint(linear)

    match = configure(assemble(consider(layout, checkpoint), checkpoint), option)

    assert match.settings["act"] == convcore.Setting(value, origin)
    assert [graph.missing for graph in match.graphs()] == [() if value else ("act",)]


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
