"""A command writes its output and nothing else, imports nothing of yours, and calls nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convcore.layouts.layout_file.imported import network_maker
from tests.conftest import EXAMPLE
from tests.watched import PLANTED, Seen, World, world

QUICK = ("--min-time", "0.01", "--max-time", "0.02", "--warmup-time", "0.02", "--batch-size", "1",
         "--rounds", "1", "--device", "cpu")  # fmt: skip
# Words, what may be left in the current folder, and what drafts may be made beside it meanwhile.
COMMANDS: dict[str, tuple[tuple[object, ...], tuple[str, ...], tuple[str, ...]]] = {
    "convert": (
        ("convert", EXAMPLE, "-o", "out", "--to", "pth", "--to", "onnx", "--component",
         "generator_AB", "--create-inference-script"), ("out",), (".out.convcore",),
    ),
    "convert --add": (
        ("convert", EXAMPLE, "-o", "out", "--to", "safetensors", "--component", "generator_AB",
         "--add"), ("out",), (".out.convcore",),
    ),
    "a failing convert": (("convert", EXAMPLE, "-o", "out"), (), (".out.convcore",)),
    "inspect": (("inspect", EXAMPLE, "--deep", "--tensors"), (), ()),
    "verify": (("verify", "out"), (), ()),
    "explain": (("explain", "out", "--tensor", "decoder.0.weight"), (), ()),
    "diff": (("diff", EXAMPLE, "out"), (), ()),
    "bench": (
        ("bench", "out", *QUICK, "--component", "generator_AB", "--save", "b.json", "--plot",
         "b.html"), ("b.json", "b.html"), (".b.json.", "tmp"),
    ),
    "bench-diff": (("bench-diff", "b.json", "b.json"), (), ()),
    "plugins": (("plugins",), (), ()),
    "plugins new": (("plugins", "new", "mine", "--kind", "layout"), ("convcore-mine",), ()),
    "help": (("--help",), (), ()),
}  # fmt: skip
# torch.compile's compiler and hash, and how matplotlib asks for the fonts of the system.
HELPERS = ("c++", "g++", "gcc", "cc", "clang", "clang++", "openssl", "fc-list", "fc-match")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("quiet"))


@pytest.fixture(scope="module")
def seen(place: World) -> dict[str, Seen]:
    """Every command, one after the other, in one fresh home, temporary and current folder."""
    return {name: place.run(*words) for name, (words, _, _) in COMMANDS.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_but_the_output_is_left_anywhere(name: str, seen: dict[str, Seen]) -> None:
    outputs = tuple(f"here/{output}" for output in COMMANDS[name][1])

    found = seen[name]

    assert found.code == (2 if name == "a failing convert" else 0), found.err
    assert [path for path in found.left if not path.startswith(outputs or "\0")] == []
    assert {Path(path).parts[1] for path in found.left} == set(COMMANDS[name][1])


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_outside_the_output_is_written_while_it_runs(
    name: str, seen: dict[str, Seen], place: World
) -> None:
    _, outputs, drafts = COMMANDS[name]
    allowed = tuple(str(place.place / stem) for stem in (*outputs, *drafts))
    allowed += (str(place.folder / "tmp") + os.sep, "/dev/null", "/proc/self/clear_refs")

    strays = [path for path in seen[name].written if not path.startswith(allowed)]

    # Python itself compiles installed modules that nobody has compiled yet, beside them.
    assert [path for path in strays if "__pycache__" not in Path(path).parts] == []
    assert not [path for path in strays if path.startswith(str(place.folder))]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_process_is_started_but_the_stop_watch_and_its_compiler(
    name: str, seen: dict[str, Seen]
) -> None:
    programs = {Path(command.split(" ")[0]).name for command in seen[name].started}

    assert programs <= ({*HELPERS, Path(sys.executable).name} if name == "bench" else set())
    assert seen[name].network == ()


@pytest.mark.parametrize("name", COMMANDS)
def test_no_module_of_the_current_folder_is_imported(
    name: str, seen: dict[str, Seen], place: World
) -> None:
    assert seen[name].out or seen[name].code == 2
    assert {path.stem for path in place.place.glob("*.py")} >= set(PLANTED)
    assert [path for path in seen[name].left if path.endswith(".ran")] == []


def test_the_script_imports_nothing_of_the_current_folder_either(place: World) -> None:
    found = place.run("inspect", EXAMPLE, script=True)

    assert (found.code, found.left) == (0, ())


def test_the_watch_sees_what_it_is_for(place: World) -> None:
    program = (
        "import os, pathlib, socket, subprocess, sys\n"
        "pathlib.Path('stray').write_text('x'); os.mkdir('folder'); os.rmdir('folder')\n"
        "os.rename('stray', 'moved'); os.remove('moved')\n"
        "subprocess.run([sys.executable, '-c', 'open(\"grandchild\", \"w\")'])\n"
        "socket.socket().connect_ex(('127.0.0.1', 9))\n"
    )
    (place.folder / "watch/convcore.py").write_text(program)  # found before the real one

    found = place.run()
    (place.folder / "watch/convcore.py").unlink()

    names = {Path(path).name for path in found.written}
    assert names >= {"stray", "folder", "moved", "grandchild"}
    assert len(found.started) == len(found.network) == 1
    assert found.left == ("here/grandchild",)


def test_what_a_layout_file_imports_is_not_compiled_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from torch import nn\nclass Net(nn.Module):\n    pass\n"
    (tmp_path / "nets_of_a_user.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)

    network_maker("nets_of_a_user:Net", "g")

    assert [path.name for path in tmp_path.iterdir()] == ["nets_of_a_user.py"]


_INTERRUPTED = """
import os, signal, sys
_, wanted, number = sys.argv
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), getattr(signal, number))
sys.meta_path.insert(0, Finder())
from convcore.cli import run
sys.argv = ["convcore", "--help"]
run()
"""


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize("module", ["convcore.interrupts", "convcore.cli.commands", "click"])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_the_command_is_only_being_imported_ends_it_without_a_traceback(
    module: str, name: str, code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, module, name],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    assert signal.Signals[name] == code - 128
