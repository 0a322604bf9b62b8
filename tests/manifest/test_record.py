"""The record as classes, its text and its JSON schema: three ways to say one thing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
from jsonschema import Draft202012Validator

from convcore import convert
from convcore.errors import SourceError, UsageError
from convcore.layouts.layout import Origin, Setting
from convcore.manifest import document, record, writing
from convcore.manifest.parts import ComponentRecord
from convcore.manifest.record import Manifest
from convcore.targets.check import FIGURES, Check, CheckKind
from convcore.targets.report import WrittenFile
from convcore.targets.target import Kind, LedgerEntry, Place, State
from tests.conftest import ROOT

EXAMPLE = ROOT / "docs/manifest.example.json"
SCHEMA = document.schema()
PLACES = {
    "manifest": (Manifest, SCHEMA),
    "source": (record.SourceRecord, SCHEMA["properties"]["source"]),
    "settings": (Setting, SCHEMA["properties"]["settings"]["additionalProperties"]),
    "components": (ComponentRecord, SCHEMA["properties"]["components"]["items"]),
    "files": (WrittenFile, SCHEMA["properties"]["files"]["items"]),
    "artifacts": (record.ArtifactRecord, SCHEMA["properties"]["artifacts"]["items"]),
    "weight sets": (record.WeightSetRecord, SCHEMA["properties"]["weight_sets"]["items"]),
}
# Names that a text put together by hand might stumble over.
NAMES = ("plain", 'a"b', 'a}, {"tensor": "b', "back\\slash", "line\nbreak", "\u202eodd", "\udc80")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    out = tmp_path_factory.mktemp("made") / "out"
    report = convert(
        ROOT / "examples/etm/models", out, ("pth", "safetensors"), components="color_encoder"
    )
    assert report.manifest is not None
    return out, report.manifest


@pytest.mark.parametrize(("kind", "described"), PLACES.values(), ids=PLACES.keys())
def test_a_class_and_the_schema_have_the_same_names(kind: type, described: Any) -> None:
    names = {"bytes" if f.name == "nbytes" else f.name for f in attrs.fields(kind)}

    assert set(described["properties"]) == names
    assert set(described["required"]) == names
    assert described["additionalProperties"] is False


def test_the_schema_has_the_words_and_figures_of_the_code() -> None:
    properties = SCHEMA["properties"]
    checks = properties["checks"]["items"]["properties"]

    assert checks["kind"]["enum"] == [kind.value for kind in CheckKind]
    assert checks.keys() == {"file", "check", "kind", "passed", *FIGURES}
    assert SCHEMA["$defs"]["state"]["enum"] == list(get_args(State))
    origin = properties["settings"]["additionalProperties"]["properties"]["origin"]
    assert origin["enum"] == list(get_args(Origin))
    kinds = properties["artifacts"]["items"]["properties"]["kind"]["enum"]
    assert kinds == [*get_args(Kind), None]
    row = {field.name for field in attrs.fields(LedgerEntry)}
    assert set(properties["ledger"]["items"]["properties"]) == row


def test_what_is_written_is_read_back_equal_and_fits_the_schema(
    made: tuple[Path, Manifest],
) -> None:
    out, told = made

    content = json.loads((out / "manifest.json").read_bytes())

    assert document.load(out) == told
    assert list(Draft202012Validator(SCHEMA).iter_errors(content)) == []
    assert content == writing.as_json(told)


def test_odd_names_keep_their_rows_and_their_lines(
    made: tuple[Path, Manifest], tmp_path: Path
) -> None:
    rows = tuple(
        LedgerEntry(name, "pth", "written", "f.pth", key, also=(Place("g.pth", None, "folded"),))
        for name in NAMES
        for key in (name, f"{name}.x")
    )
    told = attrs.evolve(made[1], ledger=rows)

    text = writing.text_of(told)

    (tmp_path / "manifest.json").write_bytes(text)
    assert document.load(tmp_path) == told
    assert len([line for line in text.splitlines() if b'"target": "pth", "state"' in line]) == len(
        rows
    )


def test_a_row_of_the_ledger_costs_little_beside_its_names(made: tuple[Path, Manifest]) -> None:
    lines = [line for line in writing.text_of(made[1]).splitlines() if b'"state"' in line]

    names = [row.tensor or "" for row in made[1].ledger]
    others = [row.key or "" for row in made[1].ledger if row.key != row.tensor]

    beyond = sum(map(len, lines)) - sum(map(len, [*names, *others]))
    assert beyond / len(lines) < 150


def test_a_dropped_tensor_says_what_it_was(made: tuple[Path, Manifest]) -> None:
    dropped = {row.tensor: row for row in made[1].ledger if row.state == "dropped"}

    row = dropped["text_encoder.0.weight"]
    assert (row.dtype, len(row.shape or ()), row.reason) == ("float32", 2, "--component")
    assert all(row.dtype for row in dropped.values())


def test_the_request_is_recorded_without_paths(made: tuple[Path, Manifest]) -> None:
    request = dict(made[1].request or {})

    assert request["targets"] == ["pth", "safetensors"]
    assert request["components"] == {"color_encoder": None}
    assert not {"path", "checkpoint", "output"} & request.keys()
    assert str(ROOT) not in json.dumps(request)


def test_the_example_in_the_documentation_is_what_is_written(made: tuple[Path, Manifest]) -> None:
    assert EXAMPLE.read_bytes() == (made[0] / "manifest.json").read_bytes()


WRONG: dict[str, dict[str, Any]] = {
    "of the check itself": {"passed": True},
    "a number that is a text": {"max_abs": "0"},
    "a count below nothing": {"tensors": -1},
    "sentences that are one": {"problems": "all"},
    "inputs in words": {"inputs": ["zeros, batch 2"]},
}


@pytest.mark.parametrize("figures", WRONG.values(), ids=WRONG.keys())
def test_a_figure_of_another_shape_is_refused_where_it_is_made(figures: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="figure"):
        Check("a.pth", "looked at", True, figures)


def test_a_figure_without_bounds_is_null(made: tuple[Path, Manifest]) -> None:
    check = Check("a.pth", "looked at", False, {"max_abs": float("inf"), "own": (float("nan"), 1)})

    told = json.loads(writing.text_of(attrs.evolve(made[1], checks=(check,))))["checks"]

    assert told == [
        {
            "file": "a.pth",
            "check": "looked at",
            "kind": "other",
            "passed": False,
            "max_abs": None,
            "own": [None, 1],
        }
    ]


def test_a_newer_schema_is_named(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    content = writing.as_json(made[1])
    (tmp_path / "manifest.json").write_text(json.dumps({**content, "schema_version": 3}))

    with pytest.raises(UsageError, match="schema version 3, this convcore reads 1 and 2"):
        document.load(tmp_path)


def test_a_field_of_a_newer_version_is_named(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    content = {**writing.as_json(made[1]), "convcore_version": "9.0"}
    content["source"] = {**content["source"], "colour": "red"}
    (tmp_path / "manifest.json").write_text(json.dumps(content))

    with pytest.raises(SourceError, match=r"\$\.source has colour, which is not known") as caught:
        document.load(tmp_path)

    assert caught.value.exit_code == 3
    assert "convcore '9.0' wrote it" in caught.value.seen[0]
