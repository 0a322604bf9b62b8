"""UMC: run folders, their names, and folders of several."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.inspection import inspect
from convcore.engine.request import Request
from convcore.errors import SourceError
from convcore.host.registry import Registry, load_registry
from convcore.options import InspectOptions
from convcore_umc.runs import find_runs, parse_run_name
from tests.plugins.umc_golden import (
    FILE,
    NAME,
    RUN,
    origins,
    recognised,
)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


NAMES = {
    NAME: ("umc", "umc", "MELD-DA", "bert-base-uncased", 0),
    "mcn_umc_IEMOCAP-DA_bert-base-uncased_12": (
        "mcn", "umc", "IEMOCAP-DA", "bert-base-uncased", 12,
    ),
    "umc_umc_MIntRec_uncased_L-12_H-768_A-12_1": (
        "umc", "umc", "MIntRec", "uncased_L-12_H-768_A-12", 1,
    ),
    "umc_umc_my_own_set_bert-large_7": ("umc", "umc", "my_own_set", "bert-large", 7),
}  # fmt: skip


@pytest.mark.parametrize(("name", "parts"), NAMES.items(), ids=NAMES.keys())
def test_a_run_folders_name_is_read_from_both_ends(name: str, parts: tuple[object, ...]) -> None:
    found = parse_run_name(name)

    assert found is not None
    assert tuple(found.values()) == parts


@pytest.mark.parametrize(
    "name", ["models", "umc_umc_MELD-DA_0", "umc_umc_MELD-DA_bert_seed", "umc__MELD-DA_bert_0", ""]
)
def test_any_other_name_is_no_run(name: str) -> None:
    assert parse_run_name(name) is None


@pytest.mark.parametrize(
    "given",
    [RUN, RUN / "models", FILE, RUN / "models/pretrain"],
    ids=["run", "models", "file", "pretrain"],
)
def test_a_run_is_read_however_it_is_pointed_at(given: Path, registry: Registry) -> None:
    checkpoint = recognised(given, registry).checkpoint

    named = {
        key: checkpoint.metadata[key] for key in ("method", "dataset", "text_backbone", "seed")
    }
    assert checkpoint.source == "umc"
    assert checkpoint.path.name == "pytorch_model.bin"
    assert named == {
        "method": "umc", "dataset": "MELD-DA", "text_backbone": "bert-base-uncased", "seed": 0,
    }  # fmt: skip


def test_a_relative_path_inside_the_run_still_names_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FILE.parent)

    settings = origins(Path("pytorch_model.bin"), registry)

    assert settings["video_length"] == (250, "dataset")
    assert settings["bert_heads"] == (4, "file")


def test_a_run_that_saved_no_weights_is_named_as_such(registry: Registry, tmp_path: Path) -> None:
    run = tmp_path / NAME
    (run / "models").mkdir(parents=True)

    with pytest.raises(SourceError, match=r"holds no models/pytorch_model\.bin"):
        inspect(InspectOptions(run), registry)


def test_a_folder_of_transformers_own_is_no_run(registry: Registry, tmp_path: Path) -> None:
    torch.save({"embeddings.weight": torch.ones(2)}, tmp_path / "pytorch_model.bin")

    found = inspect(InspectOptions(tmp_path), registry)

    assert found.layout is None
    assert found.document["source"] == "state-dict"


def test_a_folder_of_runs_gives_one_row_each_in_the_order_of_seeds(
    registry: Registry, tmp_path: Path
) -> None:
    for seed in (10, 2):
        models = tmp_path / f"outputs/MELD-DA/umc_umc_MELD-DA_bert-base-uncased_{seed}/models"
        models.mkdir(parents=True)
        shutil.copy(FILE, models)
    other = tmp_path / "outputs/umc_umc_MIntRec_bert-base-uncased_0/models/pretrain"
    other.mkdir(parents=True)
    shutil.copy(RUN / "models/pretrain/pytorch_model.bin", other)

    runs = find_runs(tmp_path / "outputs")
    rows = inspect(InspectOptions(tmp_path / "outputs"), registry).document["runs"]

    assert [run.relative_to(tmp_path / "outputs").parts[-3] for run in runs[:2]] == [
        "umc_umc_MELD-DA_bert-base-uncased_2",
        "umc_umc_MELD-DA_bert-base-uncased_10",
    ]
    assert [(row["dataset"], row["seed"], row["layout"], row["bytes"]) for row in rows] == [
        ("MELD-DA", 2, "umc", FILE.stat().st_size),
        ("MELD-DA", 10, "umc", FILE.stat().st_size),
        ("MIntRec", 0, "umc", FILE.stat().st_size),
    ]
    assert len({row["sha256"] for row in rows}) == 2
    assert find_runs(RUN) == []


def test_a_folder_with_a_single_run_in_it_gives_one_row(registry: Registry) -> None:
    rows = inspect(InspectOptions(RUN.parent), registry).document["runs"]

    assert [row["run"] for row in rows] == [NAME]


def test_folders_that_were_seen_are_not_entered_by_further_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "umc_umc_MELD-DA_bert-base-uncased_2"
    models = tmp_path / "runs/z" / name / "models"
    models.mkdir(parents=True)
    shutil.copy(FILE, models)
    for number in range(40):
        (tmp_path / f"runs/l{number}").symlink_to(".")
    (tmp_path / "runs/again").symlink_to("z")
    listed = []
    true_iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda at: (listed.append(at), true_iterdir(at))[1])

    runs = find_runs(tmp_path / "runs")

    assert runs == [models / "pytorch_model.bin"]
    assert len(listed) <= 3


def test_a_folder_of_runs_that_is_to_be_converted_names_them(
    registry: Registry, tmp_path: Path
) -> None:
    request = Request(RUN.parent, tmp_path / "out")

    with pytest.raises(SourceError, match="holds 1 run, not one checkpoint") as caught:
        convert(request, registry)

    assert caught.value.seen == (str(FILE.relative_to(RUN.parent)),)
