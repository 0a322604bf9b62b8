"""Plugins, the built-ins included, import what is documented for strangers and nothing private."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

RULES = ROOT / "plugins/ruff.toml"
GUIDE = (ROOT / "plugins/README.md").read_text("utf-8")


def rooms() -> set[str]:
    """Every module and package that lies in ``convcore`` itself."""
    found = [path for path in (ROOT / "convcore").iterdir() if path.stem != "__init__"]
    return {p.stem for p in found if p.suffix == ".py" or (p / "__init__.py").is_file()}


def test_every_room_is_documented_for_plugins_or_closed_to_them() -> None:
    lint = tomllib.loads(RULES.read_text("utf-8"))["lint"]
    closed = {name.removeprefix("convcore.") for name in lint["flake8-tidy-imports"]["banned-api"]}

    open_ones = rooms() - closed

    assert closed <= rooms(), "closed, and not there"
    untold = {name for name in open_ones if f"`convcore.{name}`" not in GUIDE}
    assert not untold, "document them in plugins/README.md, or close them in plugins/ruff.toml"


@pytest.mark.parametrize(
    "line", ["from convcore.engine.plan import make_plan", "import convcore.host.registry"]
)
def test_the_rule_finds_a_private_import(line: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", RULES, "--select", "TID251", "-"],
        input=f"{line}\n",
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "TID251" in done.stdout
