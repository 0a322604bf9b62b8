"""Fresh virtual environments beside convcore, made without a download."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import attrs


@attrs.frozen
class Environment:
    """A virtual environment that sees what the running one has installed.

    Attributes:
        python: Its interpreter.
    """

    python: Path

    def run(
        self, *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run its interpreter with these words."""
        return subprocess.run(
            [str(self.python), *map(str, words)],
            capture_output=True,
            text=True,
            timeout=500,  # for what hangs, not for what is slow
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )

    def install(self, project: Path) -> None:
        """Install a project from its folder, with pip."""
        pip(self.python, project)


def fresh(folder: Path) -> Environment:
    """Make an environment; the running one's packages are seen through a .pth file."""
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    home = subprocess.check_output(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], text=True
    )
    # addsitedir, unlike a path in the file, follows the .pth files there (an editable convcore's).
    seen = "; ".join(f"site.addsitedir({path!r})" for path in site.getsitepackages())
    Path(home.strip(), "beside.pth").write_text(f"import site; {seen}\n")
    return Environment(python)


def light(folder: Path, project: Path, packages: Sequence[str]) -> Environment:
    """Make an environment that holds a project and these packages, as ``--no-deps`` leaves it."""
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    home = subprocess.check_output(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], text=True
    )
    install_into(Path(home.strip()), project)
    for package in packages:
        distribution = metadata.distribution(package)
        for top in {Path(file).parts[0] for file in distribution.files or () if file.parts}:
            link = Path(home.strip(), top)
            if top != ".." and not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))
    return Environment(python)


def pip(python: Path | str, *words: object) -> None:
    """Install projects with what is installed already: no network, no dependencies."""
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--disable-pip-version-check", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=500,  # for what hangs, not for what is slow
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def install_into(folder: Path, *projects: Path) -> None:
    """Install projects into a plain folder that PYTHONPATH can name."""
    pip(sys.executable, "--target", folder, *projects)
