"""``convcore plugins new`` writes projects whose own tests pass as written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran
from tests.environments import Environment


@pytest.mark.parametrize("kind", ["layout", "source", "target"])
def test_a_new_project_installs_is_listed_and_passes_its_own_tests(
    convcore: Callable[..., Ran], environment: Environment, tmp_path: Path, kind: str
) -> None:
    made = convcore("plugins", "new", f"new-{kind}", "--kind", kind, cwd=tmp_path)
    project = tmp_path / f"convcore-new-{kind}"
    environment.install(project)

    listed = environment.run("-m", "convcore", "plugins")
    tested = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)

    assert made.code == 0, made.err
    assert f"{kind} new-{kind}" in listed.stdout
    assert tested.returncode == 0, tested.stdout[-3000:]
    assert " passed" in tested.stdout


@pytest.mark.parametrize("name", ["../evil", "a b", "1st", "", "x" * 80, "import os"])
def test_a_name_that_cannot_be_a_package_is_refused(
    convcore: Callable[..., Ran], tmp_path: Path, name: str
) -> None:
    made = convcore("plugins", "new", name, "--kind", "layout", cwd=tmp_path)

    assert made.code == 2
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_installed_already_is_refused(
    convcore: Callable[..., Ran], tmp_path: Path
) -> None:
    made = convcore("plugins", "new", "cyclegan", "--kind", "layout", cwd=tmp_path)

    assert made.code == 2
    assert "convcore_cyclegan" in made.err


def test_a_folder_with_something_in_it_is_left_alone(
    convcore: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    made = convcore("plugins", "new", "pix2pix", "--kind", "layout", "-o", tmp_path)

    assert made.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
