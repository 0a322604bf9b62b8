"""plugins/README.md, followed word by word, ends with plugins that work."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convcore.host import hookspecs
from tests.conftest import ROOT
from tests.environments import Environment

README = (ROOT / "plugins/README.md").read_text("utf-8")
BLOCKS = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', README, re.MULTILINE | re.DOTALL))
HOOKS = [name for name in vars(hookspecs) if name.startswith("convcore_")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, environment: Environment) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    for name, text in BLOCKS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environment.install(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(project: Path, environment: Environment) -> Path:
    code = (
        "import sys; sys.path[:0] = ['tests']; from pathlib import Path; from test_dcgan import *; "
        "TestDCGAN().make(Path('.')); TestEMA().make(Path('.'))"
    )
    done = environment.run("-c", code, cwd=project)
    assert done.returncode == 0, done.stderr
    return project / "last.ckpt"


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_stands_under_its_full_signature(name: str) -> None:
    signature = str(inspect.signature(getattr(hookspecs, name))).replace("'", "")

    assert f"### `{name}{signature}`" in README


def test_the_layout_plugin_is_at_most_forty_lines() -> None:
    assert len(BLOCKS["src/convcore_dcgan/__init__.py"].splitlines()) <= 40


def test_the_plugins_are_listed_without_a_complaint(
    project: Path, environment: Environment
) -> None:
    done = environment.run("-m", "convcore", "plugins")

    assert done.returncode == 0, done.stderr
    for brought in ("layout dcgan", "source ema", "target flat"):
        assert brought in done.stdout
    assert "What is wrong" not in done.stdout


def test_a_checkpoint_is_converted_by_the_layout_and_the_target(
    project: Path, environment: Environment, checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"

    done = environment.run(
        "-m", "convcore", "convert", checkpoint, "-o", output, "--to", "pth", "--to", "flat"
    )

    assert done.returncode == 0, done.stderr
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    written = torch.load(output / "generator.pth", weights_only=True)
    assert {f"generator.{key}" for key in written} == {k for k in state if k.startswith("gen")}
    assert all(torch.equal(written[key], state[f"generator.{key}"]) for key in written)
    assert (output / "discriminator.bin").is_file()


def test_the_averaged_weights_are_read_by_the_source(
    project: Path, environment: Environment, checkpoint: Path
) -> None:
    done = environment.run("-m", "convcore", "inspect", checkpoint.with_name("last.pt"))

    assert done.returncode == 0, done.stderr
    assert "dcgan (ema" in done.stdout
    assert "averaged over 10 steps" in done.stdout


def test_the_layout_file_converts_to_weights_and_to_onnx(
    project: Path, environment: Environment, checkpoint: Path, tmp_path: Path
) -> None:
    words = ["--layout", "dcgan-by-file", "--layout-file", project / "dcgan.toml"]

    done = environment.run(
        "-m", "convcore", "convert", checkpoint, *words, "-o", tmp_path / "out",
        "--to", "pth", "--to", "safetensors", "--to", "state-dict", "--to", "onnx",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"netG.pth", "netG.safetensors", "dcgan.pth", "generator.onnx"} <= files


def test_the_suites_pass_as_written(project: Path, environment: Environment) -> None:
    done = environment.run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests", cwd=project
    )

    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("name", [name for name in BLOCKS if name.endswith(".py")])
def test_code_is_formed_as_the_project_s_own(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "E,F,UP,B", "--line-length", "100",
         "--stdin-filename", name, "-"],
        input=BLOCKS[name], capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
