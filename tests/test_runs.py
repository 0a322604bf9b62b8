"""Folders of several runs: whatever a source calls a run, inspect lists it and convert names it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import attrs
import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.inspection import inspect
from convcore.engine.request import Request
from convcore.errors import SourceError
from convcore.host.registry import Registry, load_registry
from convcore.options import InspectOptions
from convcore.sources.source import Source
from tests.conftest import ROOT

ETM = ROOT / "examples/etm/models"


def knowing(find: object) -> Registry:
    """The registry with a source that knows folders of runs, and reads none of them itself."""
    registry = load_registry()
    source = Source("runs", "for a test", lambda given: None, runs=find)
    return attrs.evolve(registry, sources={**registry.sources, "runs": source})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs: a folder of several files, and one file with a name of its own."""
    shutil.copytree(ETM, tmp_path / "runs/one")
    torch.save({"fc.weight": torch.ones(2, 3)}, tmp_path / "runs/two.pt")
    return tmp_path / "runs"


def all_entries(folder: Path) -> list[Path] | None:
    return sorted(folder.iterdir()) if folder.name == "runs" else None


def test_runs_that_are_folders_or_files_of_any_name_get_a_row_each(runs: Path) -> None:
    rows = inspect(InspectOptions(runs), knowing(all_entries)).document["runs"]

    assert [row["path"] for row in rows] == ["one", "two.pt"]
    assert rows[0]["layout"] == "etm"
    files = [path for path in (runs / "one").rglob("*") if path.is_file()]
    assert rows[0]["bytes"] == sum(path.stat().st_size for path in files)
    assert rows[1]["sha256"] == hashlib.sha256((runs / "two.pt").read_bytes()).hexdigest()
    assert rows[1]["parameter_count"] == 6


def test_runs_that_cannot_be_read_are_rows_with_an_error(runs: Path) -> None:
    (runs / "three").mkdir()
    (runs / "four.pt").write_text("no checkpoint")

    rows = inspect(InspectOptions(runs), knowing(all_entries)).document["runs"]

    errors = {row["path"]: row["error"] for row in rows if "error" in row}
    assert errors.keys() == {"three", "four.pt"}


def test_a_folder_that_calls_itself_a_run_is_read_as_one_checkpoint(runs: Path) -> None:
    found = inspect(InspectOptions(runs / "one"), knowing(lambda folder: [folder]))

    assert found.document["layout"] == "etm"


def test_runs_within_runs_do_not_go_on_for_ever(runs: Path) -> None:
    known = knowing(lambda folder: [*folder.iterdir()] if folder.is_dir() else None)

    rows = inspect(InspectOptions(runs), known).document

    assert {row["path"] for row in rows["runs"]} == {"one", "two.pt"}


def test_a_folder_of_runs_is_not_converted_and_its_runs_are_named(
    runs: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="holds 2 runs, not one checkpoint") as caught:
        convert(Request(runs, tmp_path / "out"), knowing(all_entries))

    assert caught.value.seen == ("one", "two.pt")
    given = Path(caught.value.remedy.removeprefix("give one of them, for example "))
    convert(Request(given, tmp_path / "out"), load_registry())
    assert (tmp_path / "out/manifest.json").is_file()
