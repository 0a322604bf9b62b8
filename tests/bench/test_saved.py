from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from convcore.bench.saved import MAX_SAMPLES, load, save
from convcore.errors import UsageError
from tests.bench.synthetic import benchmark, row


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    before = benchmark(row([1.0, 1.1], [1.2]), row([4.0], batch=8, backend="onnxruntime"))

    save(before, tmp_path / "b.json")

    assert load(tmp_path / "b.json") == before


def test_a_file_names_its_schema_method_machine_versions_and_samples(tmp_path: Path) -> None:
    save(benchmark(row([1.0, 1.5])), tmp_path / "b.json")

    content = json.loads((tmp_path / "b.json").read_text())

    assert content["schema_version"] == 1
    assert content["machine"]["processor"] == "Abacus 9"
    assert content["versions"]["torch"] == "2.13.0"
    assert content["method"]["min_iterations"] == 30
    assert content["rows"][0]["runs"][0]["samples_ns"] == [1_000_000, 1_500_000]


def test_many_samples_are_thinned_evenly_and_counted_in_full(tmp_path: Path) -> None:
    save(benchmark(row(range(1, 10_001))), tmp_path / "b.json")

    (saved,) = load(tmp_path / "b.json").rows

    samples = saved.runs[0].samples_ns
    assert len(samples) == MAX_SAMPLES
    assert {later - earlier for earlier, later in pairwise(samples)} == {5_000_000}
    assert saved.runs[0].iterations == 10_000
    assert saved.summary is not None
    assert saved.summary.iterations == 10_000


def test_saving_replaces_a_file_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("x" * 10**6)

    save(benchmark(), tmp_path / "b.json")

    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
    assert load(tmp_path / "b.json").rows == ()


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be saved"):
        save(benchmark(), tmp_path / "nowhere" / "b.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no saved benchmark"),
        ('{"rows": []}', "is no saved benchmark"),
        ('{"schema_version": 99, "rows": []}', "has schema version 99"),
        ('{"schema_version": 1, "rows": [{"graph": 1}]}', "is a damaged benchmark"),
    ],
    ids=["no JSON", "a list", "no version", "from the future", "damaged"],
)
def test_other_files_are_refused_by_what_they_lack(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "b.json"
    path.write_text(content)

    with pytest.raises(UsageError, match=message):
        load(path)


def test_a_later_field_of_the_same_schema_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    save(benchmark(row([1.0])), path)
    content = json.loads(path.read_text())
    content["rows"][0]["colour"] = "green"
    path.write_text(json.dumps(content))

    assert load(path) == benchmark(row([1.0]))
