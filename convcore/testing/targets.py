"""The suite for a target: planned, written, accounted for, read back, and refused early."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from convcore.engine.audit.verify import verify
from convcore.errors import ConvcoreError, PluginError
from convcore.layouts.layout import Component, Layout
from convcore.manifest import document as manifest
from convcore.output.documents import ENGINE_FILES
from convcore.targets.report import Report
from convcore.targets.target import Artifact, Choice, Workspace
from convcore.testing.case import Case
from convcore.testing.oracle import originals, same
from convcore.testing.outputs import digests, schema_faults
from convcore.testing.processes import brought_by, imported_by_running, run_python
from convcore.testing.suite import Suite

# A model of two components; the suite's own, so that no plugin's layout is in the way.
LAYOUT = Layout(
    "convcore-testing",
    "what the target suite converts",
    [Component("encoder", "encoder."), Component("critic", "critic.", "training", required=False)],
    automatic=False,
)
_FLIPS = 24


def _kinds() -> dict[str, dict[str, Any]]:
    """Tensors of every kind a target meets, by what is odd about them."""
    import torch

    grid = torch.arange(24.0).reshape(4, 6)
    return {
        "scalar": {"count": torch.tensor(7), "weight": torch.tensor(0.5)},
        "empty": {"nothing": torch.zeros(0, 4), "weight": grid},
        "views": {"turned": grid.t(), "column": grid[:, 1:3], "repeated": grid[:1].expand(3, 6)},
        "tied": {"weight": grid, "decoder": grid, "part": grid[1:3]},
        "not-numbers": {"weight": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])},
        **{f"named {key}": {key: grid, "weight": grid + 1} for key in _KEYS},
        **{name: {"weight": grid.to(getattr(torch, name))} for name in _DTYPES},
    }


_KEYS = ("a/b", "../x", "a b", "file", "arr_0", "allow_pickle", "__metadata__", "x.npy", "a\\b",
         "*", "0", "\u043a\u043b\u044e\u0447", "upper", "UPPER")  # fmt: skip
_DTYPES = ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
           "complex64", "float8_e4m3fn")  # fmt: skip
_KINDS = ("scalar", "empty", "views", "tied", "not-numbers",
          *(f"named {key}" for key in _KEYS), *_DTYPES)  # fmt: skip


class TargetSuite(Suite):
    """Tests of one target. Set ``target`` and define ``read``.

    Define ``make`` and ``layout`` too where the target takes only some layouts.

    Attributes:
        target: Its name.
        layout: What the conversions name.
        rereads: Whether ``check`` compares every byte that was written; not so where ``write`` has
            compared them already, or where results are compared within a tolerance.
    """

    kind = "targets"
    target: ClassVar[str]
    layout: ClassVar[str] = LAYOUT.name
    rereads: ClassVar[bool] = True

    @property
    def layout_name(self) -> str | None:
        """The layout that conversions name."""
        return self.layout

    def own_layouts(self) -> Iterable[Layout]:
        """The suite's model of two components."""
        return (LAYOUT,)

    def make(self, folder: Path) -> Path:
        """Write a tiny checkpoint of two components; override it with ``layout``."""
        import torch

        grid = torch.arange(24.0).reshape(4, 6)
        path = folder / "model.pt"
        encoder = {"0.weight": grid, "0.bias": grid[0] * 0.5, "1.count": torch.tensor(7)}
        state = {f"encoder.{key}": value for key, value in encoder.items()}
        torch.save({**state, "critic.weight": grid + 1, "critic.bias": grid[:, 0].clone()}, path)
        return path

    def read(self, path: Path) -> Mapping[str, Any]:
        """Read a written file with its format's own library: key to tensor or array."""
        raise NotImplementedError(
            f"{type(self).__name__} has to define read(self, path): what the file holds, key to "
            "tensor or array, read with the format's own library"
        )

    def test_it_writes_exactly_what_it_planned(self, case: Case) -> None:
        """Every file of the output is planned, documents and sidecars aside, and no larger."""
        artifacts = case.report.plan.artifacts
        planned = {path for artifact in artifacts for path in artifact.paths}
        folded = any(row.state == "folded" for row in case.manifest.ledger)

        others = {*ENGINE_FILES, *case.report.plan.documents, *case.match.sidecars}
        assert set(digests(case.report.output)) - others == planned
        for artifact in artifacts:
            sizes = [(case.report.output / path).stat().st_size for path in artifact.paths]
            assert folded or sum(sizes) <= artifact.nbytes, (
                f"{artifact.path} is larger than planned"
            )

    def test_a_dry_run_writes_nothing_and_plans_the_same(self, case: Case, tmp_path: Path) -> None:
        """The plan does not depend on the disk."""
        dry = case.converted(tmp_path / "output", targets=[self.target], dry_run=True)

        assert not list(tmp_path.iterdir())
        planned = [each.path for each in dry.plan.artifacts]
        assert planned == [each.path for each in case.report.plan.artifacts]

    def test_files_hold_the_tensors_bit_for_bit(self, case: Case) -> None:
        """As ``read`` finds them, under the file and key that the ledger names."""
        assert _differing(self, case.report, originals(case.checkpoint)) == []

    def test_what_it_wrote_is_read_back_and_verified(self, case: Case) -> None:
        """``reopen`` gives what ``read`` finds, and ``convcore verify`` has no complaint."""
        for artifact in case.report.plan.artifacts if case.thing.reopen is not None else ():
            expected = self.read(case.report.output / artifact.path)
            found = case.thing.tensors(case.report.output, artifact)

            wrong = [
                k for k in expected if k not in found or not same(found[k].load(), expected[k])
            ]
            assert not wrong, f"{artifact.path}: {', '.join(wrong)}"

        failed = [check for check in verify(case.report.output, case.registry) if not check.passed]
        assert not failed

    @pytest.mark.parametrize("kind", _KINDS)
    def test_odd_tensors_are_written_right_or_refused_before_writing(
        self, case: Case, kind: str, tmp_path: Path
    ) -> None:
        """Odd types, names and views: every bit right, or an error that a dry run gives too."""
        if self.layout != LAYOUT.name:
            pytest.skip(f"the target is tested with the layout {self.layout}")
        import torch

        path, output = tmp_path / "model.pt", tmp_path / "output"
        torch.save({f"encoder.{key}": value for key, value in _kinds()[kind].items()}, path)
        try:
            case.converted(output, path=path, targets=[self.target], dry_run=True)
        except PluginError:
            raise
        except ConvcoreError:
            with pytest.raises(ConvcoreError):
                case.converted(output, path=path, targets=[self.target])
            assert not output.exists()
            return

        report = case.converted(output, path=path, targets=[self.target])

        assert {entry.name for entry in tmp_path.iterdir()} == {"model.pt", "output"}
        state = torch.load(path, weights_only=True)
        assert _differing(self, report, {key: [value] for key, value in state.items()}) == []

    def test_the_ledger_accounts_for_every_tensor(self, case: Case) -> None:
        """Each tensor once, and no key of a file without its row."""
        rows = case.manifest.ledger
        told = [row.tensor for row in rows if row.tensor is not None]
        names = {case.checkpoint.original(name) for name in case.checkpoint.tensors}
        places = [place for row in rows for place in row.places]

        assert len(told) == len(set(told))
        assert names <= set(told)
        for artifact in case.report.plan.artifacts:
            keys = {place.key for place in places if place.file == artifact.path}
            assert set(self.read(case.report.output / artifact.path)) <= keys, artifact.path

    def test_a_component_left_out_is_dropped_by_name(self, case: Case, tmp_path: Path) -> None:
        """``--component`` takes one; the tensors of the others are dropped, and the reason said."""
        parts = [
            part.name for part in case.match.layout.components if part.name in case.match.states
        ]
        artifacts = case.report.plan.artifacts
        if len(parts) < 2 or len(artifacts) < 2:
            pytest.skip("the target writes one file of all components")
        chosen = next(each.of for each in artifacts if each.of in parts)

        report = case.converted(tmp_path / "output", components=(chosen,))

        assert chosen in {artifact.of for artifact in report.plan.artifacts}
        rows = {row.tensor: row for row in manifest.load(report.output).ledger}
        for part in set(parts) - {chosen}:
            for name in case.match.states[part].keys() - case.match.dropped.keys():
                assert rows[case.checkpoint.original(name)].reason == "--component"

    def test_the_manifest_fits_its_schema(self, case: Case) -> None:
        """``manifest.json`` is what its JSON schema says, its digests are those of the files."""
        there = digests(case.report.output)
        del there[manifest.NAME]

        assert not schema_faults(case.report.output)
        assert {file.path: file.sha256 for file in case.manifest.files} == there

    def test_the_same_input_gives_the_same_bytes(self, case: Case, tmp_path: Path) -> None:
        """No time, no folder, no order of a set comes into the file."""
        again = case.converted(tmp_path / "again", verify="full", create_inference_script=True)

        assert digests(again.output) == digests(case.report.output)
        if self.layout == LAYOUT.name:
            return
        done = run_python("convcore", *case.words(tmp_path / "b"), env={"PYTHONHASHSEED": "4711"})
        assert done.returncode == 0, done.stderr
        assert digests(tmp_path / "b") == digests(case.report.output)

    def test_a_changed_byte_is_noticed(self, case: Case, tmp_path: Path) -> None:
        """Whatever byte ``read`` would have read otherwise."""
        if case.thing.check is None or not self.rereads:
            pytest.skip("the target does not compare bytes after writing")
        choice = Choice(tuple(case.match.states), options=case.thing.settled(self.config))
        artifacts = case.thing.plans(case.match, choice)
        workspace = Workspace(tmp_path, case.match, choice)
        case.thing.write(artifacts, workspace)
        assert _sound(case, artifacts, workspace)
        for artifact in artifacts:
            path = tmp_path / artifact.path
            data, expected = path.read_bytes(), self.read(path)
            noticed = [
                _sound(case, artifacts, workspace) is False
                for _ in _flipped(path, data)
                if not _reads_as(self, path, expected)
            ]
            path.write_bytes(data)
            assert all(noticed), f"{path.name}: {noticed.count(False)} of {len(noticed)} unnoticed"

    def test_what_it_imports_late_is_listed_in_needs(self, case: Case, tmp_path: Path) -> None:
        """A missing package is then an error before anything is written, with its name."""
        assert case.plugin is not None
        package = case.plugin.value.partition(":")[0].partition(".")[0]
        words = ["--to", self.target, "-o", str(tmp_path / "output")]
        layout = self.layout if self.layout != LAYOUT.name else "plain"

        imported = imported_by_running(
            package, "convert", str(case.path), "--layout", layout, *words
        )

        missing = imported - brought_by(case.thing.needs)
        assert not missing, f"add to needs: {', '.join(sorted(missing))}"


def _differing(suite: TargetSuite, report: Report, expected: Mapping[str, list[Any]]) -> list[str]:
    """Say which tensors the files do not hold as they were; at least one has to be there."""
    places = [
        (row.tensor, place)
        for row in manifest.load(report.output).ledger
        for place in row.places
        if place.state in ("written", "alias")
    ]
    files = {place.file: suite.read(report.output / place.file) for _, place in places}
    wrong = [] if places else ["no tensor was written"]
    for name, place in places:
        found, key = files[place.file], str(place.key)
        if key not in found:
            wrong.append(f"{place.file} has no key {key}")
        elif not any(same(found[key], tensor) for tensor in expected[str(name)]):
            wrong.append(f"{place.file}: {key} is not {name}")
    return wrong


def _flipped(path: Path, data: bytes) -> Iterator[int]:
    """Write the file again and again, each time with another byte changed."""
    for number in range(_FLIPS):
        place = (2 * number + 1) * len(data) // (2 * _FLIPS)
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        yield place


def _reads_as(suite: TargetSuite, path: Path, expected: Mapping[str, Any]) -> bool:
    try:
        found = suite.read(path)
        return set(found) == set(expected) and all(same(found[k], expected[k]) for k in expected)
    except Exception:  # whatever the format's library says of a damaged file
        return False


def _sound(case: Case, artifacts: Sequence[Artifact], workspace: Workspace) -> bool:
    try:
        return all(check.passed for check in case.thing.check(artifacts, workspace))
    except ConvcoreError as error:
        if isinstance(error, PluginError):
            raise  # a fault of the code, where check has to say what is wrong with the file
        return False
