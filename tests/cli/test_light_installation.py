"""Where only README's light line was installed, what needs more says what, and how to get it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from convcore.bench.saved import save
from tests.bench.synthetic import benchmark, row
from tests.conftest import EXAMPLE, ROOT
from tests.environments import Environment, light

# What the packages of the line require themselves.
BELOW = ("markdown-it-py", "mdurl", "pygments", "typing-extensions")
LINE = re.search(
    r"`pip install --no-deps \. && pip install ([^`]+)`", (ROOT / "README.md").read_text()
)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with convcore and the packages that README's line names."""
    assert LINE is not None
    return light(tmp_path_factory.mktemp("light"), ROOT, (*LINE[1].split(), *BELOW))


def run(sparse: Environment, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return sparse.run("-m", "convcore", *words, cwd=cwd, env={"PYTHONPATH": ""})


LACKING = {
    "an example": (("convert", EXAMPLE, "-o", "x", "--create-inference-script"), "jinja2"),
    "ONNX": (("convert", EXAMPLE, "-o", "x", "--to", "onnx"), "torch"),
    "an independent reading": (("convert", EXAMPLE, "-o", "x", "--verify", "full"), "torch"),
    "a measurement": (("bench", EXAMPLE), "torch"),
    "a plugin": (("plugins", "new", "mine", "--kind", "layout"), "jinja2"),
}


@pytest.mark.parametrize(("words", "package"), LACKING.values(), ids=LACKING.keys())
def test_a_missing_package_is_one_sentence_and_how_to_get_it(
    words: tuple[object, ...], package: str, sparse: Environment, tmp_path: Path
) -> None:
    plain = run(sparse, *words, cwd=tmp_path)
    as_json = run(sparse, *words, "--json", cwd=tmp_path)

    error = json.loads(as_json.stdout)["error"]
    first, *rest = plain.stderr.splitlines()
    assert (plain.returncode, as_json.returncode, error["exit_code"]) == (5, 5, 5)
    assert re.search(rf"needs (\w+, )*{package}\b.* not installed$", error["what"])
    assert error["remedy"].startswith("pip install ")
    assert package in error["remedy"]
    assert (first, rest) == (f"error: {error['what']}", [f"  {error['remedy']}"])
    assert list(tmp_path.iterdir()) == []


def test_what_the_light_line_is_for_works(sparse: Environment, tmp_path: Path) -> None:
    targets = ("--to", "pth", "--to", "safetensors", "--to", "state-dict")
    commands = (
        ("convert", EXAMPLE, "-o", "out", *targets),
        ("inspect", EXAMPLE, "--deep"),
        ("diff", EXAMPLE, "out"),
        ("verify", "out"),
        ("bench-diff", "a.json", "a.json"),
        ("explain", "out", "--tensor", "generator_AB.encoder.0.weight"),
        ("plugins",),
        ("--help",),
    )
    program = (
        "import convcore; name = 'generator_AB.encoder.0.weight'; import sys; "
        "print(convcore.open_checkpoint(sys.argv[1]).tensors[name].numpy().shape)"
    )

    save(benchmark(row([1.0] * 50)), tmp_path / "a.json")

    done = [run(sparse, *words, cwd=tmp_path) for words in commands]
    array = sparse.run("-c", program, EXAMPLE, cwd=tmp_path, env={"PYTHONPATH": ""})

    assert [each.returncode for each in done] == [0] * len(commands), [d.stderr for d in done]
    assert array.stdout.startswith("("), array.stderr
