"""Tests of whole conversions, which layouts and sources share."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from convcore.errors import ConvcoreError, PluginError
from convcore.formats import walk_tensors
from convcore.manifest import document as manifest
from convcore.sources.source import Checkpoint
from convcore.testing.case import Case
from convcore.testing.disguise import HOSTILE, MARK, PRODUCT, changed_strings
from convcore.testing.oracle import originals, same, tensors_in
from convcore.testing.outputs import digests, schema_faults
from convcore.testing.processes import run_python
from convcore.testing.suite import Suite


class Conversions(Suite):
    """Tests of what lies in the output folder."""

    def test_weight_files_hold_the_tensors_bit_for_bit(self, case: Case) -> None:
        """Read by torch and safetensors, every tensor is what torch reads in the input."""
        expected = originals(case.checkpoint)
        places = [
            (str(row.tensor), place.file, str(place.key))
            for row in case.manifest.ledger
            for place in row.places
            if place.state in ("written", "alias")
        ]
        weights = [place for place in places if place[1].endswith((".pth", ".safetensors"))]
        files = {file: tensors_in(case.report.output / file) for _, file, _ in weights}

        differing = [
            f"{file}: {key}"
            for name, file, key in weights
            if not any(same(files[file][key], tensor) for tensor in expected[name])
        ]

        assert weights, "no tensor was written"
        assert not differing

    def test_the_ledger_accounts_for_every_tensor(self, case: Case) -> None:
        """Each target tells of each tensor once, and each written tensor has its row."""
        names = [case.checkpoint.original(name) for name in case.checkpoint.tensors]
        names += [name for name, _ in walk_tensors(case.checkpoint.rest)]
        told: dict[str, list[str]] = {target: [] for target in case.targets}
        keys: dict[str, set[str | None]] = {}
        for row in case.manifest.ledger:
            if row.tensor is not None:
                told[row.target].append(row.tensor)
            for place in row.places:
                keys.setdefault(place.file, set()).add(place.key)

        assert {t: sorted(rows) for t, rows in told.items()} == dict.fromkeys(told, sorted(names))
        for file in keys:
            if file.endswith((".pth", ".safetensors")):
                assert keys[file] == set(tensors_in(case.report.output / file)), file

    def test_the_manifest_fits_its_schema_and_its_folder(self, case: Case) -> None:
        """``manifest.json`` is what its JSON schema says, its digests are those of the files."""
        listed = {file.path: file.sha256 for file in case.manifest.files}
        there = digests(case.report.output)
        del there[manifest.NAME]

        assert not schema_faults(case.report.output)
        assert listed == there

    def test_the_same_input_gives_the_same_bytes(self, case: Case, tmp_path: Path) -> None:
        """Another process, folder and hash seed: the same files, byte for byte."""
        done = run_python(
            "convcore",
            *case.words(tmp_path / "again"),
            cwd=tmp_path,
            env={"PYTHONHASHSEED": "4711"},
        )

        assert done.returncode == 0, done.stderr
        assert digests(tmp_path / "again") == digests(case.report.output)

    @pytest.mark.parametrize("whole", [False, True], ids=["strings", "every-value"])
    def test_hostile_hyper_parameters_reach_no_path_and_no_template(
        self, case: Case, tmp_path: Path, whole: bool
    ) -> None:
        """What a stranger wrote into the checkpoint stays a string, or is refused in a sentence."""
        expected = set(digests(case.report.output))
        for number, text in enumerate(HOSTILE):
            output = tmp_path / str(number) / "output"
            output.parent.mkdir()
            hostile = _hostile(case.checkpoint, case.match.settings, text, whole=whole)
            try:
                case.converted(
                    output, checkpoint=hostile, targets=["pth"], create_inference_script=True
                )
            except PluginError as error:
                pytest.fail(f"with {text[:60]!r}: {error.what}")
            except ConvcoreError:
                assert not output.exists()
                continue

            assert {path.name for path in output.parent.iterdir()} == {"output"}
            assert set(digests(output)) <= expected
            _assert_only_text(output)
        assert not [path for path in tmp_path.rglob("*") if MARK in path.name]
        assert not Path("/tmp", MARK).exists()  # where a hostile string points
        assert not Path(MARK).exists()


def _hostile(
    checkpoint: Checkpoint, settings: Mapping[str, Any], text: str, *, whole: bool
) -> Checkpoint:
    def change(value: Any) -> Any:
        return text if whole or isinstance(value, str) else value

    stored = dict(checkpoint.hyper_parameters)
    names = {*stored, *settings} if whole else stored
    hyper = {name: changed_strings(stored.get(name, ""), change) for name in names}
    return attrs.evolve(
        checkpoint,
        hyper_parameters={**hyper, text: text, "convcore_stranger": text},
        metadata={**changed_strings(dict(checkpoint.metadata), change), text: text},
        opaque={text: 1},
    )


def _assert_only_text(output: Path) -> None:
    """Assert that hostile strings stand in documents as values, and in code as constants."""
    for path in output.iterdir():
        if path.suffix not in (".json", ".py"):
            continue
        text = path.read_text("utf-8")
        assert PRODUCT not in text, f"{path.name}: a template was filled in from a hostile string"
        if path.suffix == ".json":
            json.loads(text)
            continue
        code = ast.parse(text)
        blank = _Blank().visit(code)
        assert not re.search(MARK, ast.unparse(blank)), f"{path.name}: a hostile string is code"


class _Blank(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(0) if isinstance(node.value, str | bytes) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Constant:
        return ast.Constant(0)
