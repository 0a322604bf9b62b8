"""A session: plugins once, another process for what touches its process, and nothing shared."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import convcore
from convcore import ConvcoreError, Report, Session
from convcore.cli.faults import Bug, OutOfMemory
from convcore.engine.request import Request
from convcore.errors import SourceError
from convcore.formats.budgets import Budgets
from convcore.tensors.faults import Malformed
from tests import steady_layout as steady

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """One whose layout can be sent to another process; its worker stays warm for all tests."""
    made = Session(layouts=[steady.STEADY])
    yield made
    made.close()


def weights_of(output: Path) -> State:
    """What lies in an output, read by torch or onnx."""
    if (output / "net.pth").exists():
        state: State = torch.load(output / "net.pth", weights_only=True)
        return {f"net.{name.removeprefix('net.')}": value for name, value in state.items()}
    graph = onnx.load(output / "net.onnx").graph
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    inputs = np.eye(4, dtype=np.float32)
    import onnxruntime

    run = onnxruntime.InferenceSession(str(output / "net.onnx")).run(None, {"x": inputs})[0]
    bias = next(array for array in arrays.values() if array.shape == (3,))
    weight = (run - bias).T
    return {"net.weight": torch.from_numpy(weight.copy()), "net.bias": torch.tensor(bias)}


def same(found: State, expected: State) -> bool:
    return all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)


def test_plugins_are_loaded_once(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convcore.host import registry

    loaded = []
    load = registry.load
    monkeypatch.setattr(
        registry, "load", lambda e, *a, **k: loaded.append(e.name) or load(e, *a, **k)
    )
    session = Session()

    for _ in range(3):
        session.inspect(example)
        session.diff(example, example)
    session.open_checkpoint(example)

    assert loaded
    assert len(loaded) == len(set(loaded))


def test_plugins_are_looked_for_again_where_others_can_be_found(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session()
    known = session.registry()

    monkeypatch.setenv("CONVCORE_DISABLE_PLUGINS", "convcore_cyclegan")

    assert "cyclegan" in known.layouts
    assert "cyclegan" not in session.registry().layouts


def test_a_layout_file_holds_for_one_call(example: Path, tmp_path: Path) -> None:
    draft = tmp_path / "layout.toml"
    draft.write_text('name = "mine"\n\n[components.all]\nkeys = "generator_AB."\n')
    session = Session()

    with pytest.raises(ConvcoreError):
        session.inspect(example, layout="mine")
    registry = session.registry(draft)

    assert "mine" in registry.layouts
    assert registry.owners["layouts", "mine"] == ("--layout-file",)
    assert "mine" not in session.registry().layouts


def test_budgets_are_those_of_the_session(example: Path) -> None:
    with pytest.raises(SourceError):
        Session(budgets=Budgets(opcodes=10)).inspect(example)

    assert Session().inspect(example).layout


ERRORS = {
    **{kind.__name__: kind("what", seen=["a", "b"], remedy="mend it", kind="odd")
       for kind in (ConvcoreError, *ConvcoreError.__subclasses__())},
    "malformed": Malformed("cut off", kind="unsafe", seen=["a"]).at("m.pt", "data.pkl", 7),
    "of a kind of its own": SourceError("what", remedy="mend it"),
}  # fmt: skip


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_every_error_survives_pickling_without_its_cause(error: ConvcoreError) -> None:
    error.__cause__ = ValueError(lambda: "what cannot be pickled")

    found = pickle.loads(pickle.dumps(error))

    assert (type(found), str(found), found.as_dict()) == (type(error), str(error), error.as_dict())
    assert found.__cause__ is None
    assert {Bug, OutOfMemory} <= set(ConvcoreError.__subclasses__())


def test_a_session_pickles_as_the_recipe_that_made_it(example: Path) -> None:
    session = Session(
        disable_plugins=["convcore_umc"], layouts=[steady.STEADY], budgets=Budgets(shards=7),
        progress=lambda *told: None,
    )  # fmt: skip
    session.inspect(example)

    found = pickle.loads(pickle.dumps(session))

    registry = found.registry()
    assert "umc" not in registry.layouts
    assert {"steady", "cyclegan"} <= registry.layouts.keys()
    assert registry.budgets.shards == 7


def test_a_request_survives_pickling(tmp_path: Path) -> None:
    request = Request(
        tmp_path / "m.pt", tmp_path / "out", ["pth", "onnx"], components={"a": "x."},
        config={"n": "1"}, verify="full", atol=0.5,
    )  # fmt: skip

    assert pickle.loads(pickle.dumps(request)) == request


def test_a_report_survives_pickling_and_plans_again_when_asked(
    example: Path, tmp_path: Path
) -> None:
    report = convcore.convert(example, tmp_path / "out", components="generator_AB")

    found: Report = pickle.loads(pickle.dumps(report))

    assert found == report
    assert (found.files, found.manifest) == (report.files, report.manifest)
    assert found.plan.names == report.plan.names
    assert found.plan.match.evidence[0] == report.plan.match.evidence[0]


def test_a_report_of_an_input_that_is_gone_has_all_but_its_plan(tmp_path: Path) -> None:
    steady.save(tmp_path / "m.pt", 0)
    report = convcore.convert(tmp_path / "m.pt", tmp_path / "out", layout="plain")
    (tmp_path / "m.pt").unlink()

    found: Report = pickle.loads(pickle.dumps(report))

    assert found.manifest is not None
    assert found.manifest.layout == "plain"
    with pytest.raises(convcore.UsageError, match="there is no file or folder"):
        found.plan  # noqa: B018 # reading it is the test


@pytest.mark.parametrize("target", ["pth", "onnx"])
@pytest.mark.parametrize("layout", ["steady", "here-only"])
def test_threads_that_convert_at_once_get_each_its_own_output(
    target: str, layout: str, session: Session, tmp_path: Path
) -> None:
    if layout == "here-only":
        session = Session(layouts=[steady.HERE_ONLY])
    states = {n: steady.save(tmp_path / f"{n}.pt", n) for n in range(4)}
    reports: dict[int, Report] = {}

    def convert(number: int) -> None:
        reports[number] = session.convert(
            tmp_path / f"{number}.pt", tmp_path / f"out-{number}", target, layout=layout
        )

    together([lambda n=number: convert(n) for number in states])

    assert reports.keys() == states.keys()
    for number, state in states.items():
        assert same(weights_of(tmp_path / f"out-{number}"), state)
        assert all(check.passed for check in reports[number].checks)
    assert session.own_process is False


def together(calls: list[Callable[[], Any]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_export_touches_nothing_of_the_process_that_asks_for_it(
    session: Session, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another thread prints, logs, warns and draws numbers meanwhile, and looks around."""
    steady.save(tmp_path / "m.pt", 0)
    logger, handled = logging.getLogger("of the caller"), []
    handler = logging.Handler()
    handler.emit = handled.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    seen: list[object] = []

    def state() -> tuple[object, ...]:
        return (
            sys.stdout, sys.stderr, logging.root.manager.disable, warnings.showwarning,
            list(warnings.filters), dict(os.environ), Path.cwd(), torch.initial_seed(),
            torch.get_rng_state().sum().item(),
        )  # fmt: skip

    before = state()
    done = threading.Event()

    def meanwhile() -> None:
        while not done.wait(0.005):
            print("a line of the caller")
            logger.error("a record of the caller")
            if state() != before:
                seen.append(state())

    other = threading.Thread(target=meanwhile)
    other.start()
    session.convert(tmp_path / "m.pt", tmp_path / "out", "onnx", layout="steady")
    done.set()
    other.join()
    logger.removeHandler(handler)

    out, err = capfd.readouterr()
    assert seen == []
    assert set(out.splitlines()) == {"a line of the caller"}
    assert len(out.splitlines()) == len(handled)
    assert err.count("\n") == 0 or set(err.splitlines()) == {"a record of the caller"}


def test_an_export_imports_no_torch_into_the_process_that_asks_for_it(
    example: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, convcore\n"
        f"convcore.convert({str(example)!r}, {str(tmp_path / 'out')!r}, 'onnx',"
        " components='generator_AB')\n"
        "print({'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("set()\n", "")
    assert (tmp_path / "out/generator_AB.onnx").exists()


def worker_of(session: Session) -> Any:
    assert session._worker is not None
    assert session._worker._process is not None
    return session._worker._process._process


@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_an_export_that_ends_early_leaves_nothing_and_the_next_one_works(
    how: str, session: Session, tmp_path: Path
) -> None:
    steady.save(tmp_path / "m.pt", 0)
    options = {"targets": ["pth", "onnx"], "layout": "steady"}

    def meddle(stage: str, done: int, total: int) -> None:
        if how == "interrupted":
            raise KeyboardInterrupt
        worker_of(session).kill()

    session.progress = meddle
    expected = {"killed": convcore.TargetError, "interrupted": KeyboardInterrupt}[how]
    with pytest.raises(expected, match="was ended by SIGKILL" if how == "killed" else None):
        session.convert(tmp_path / "m.pt", tmp_path / "out", **options)
    left = sorted(path.name for path in tmp_path.iterdir())
    session.progress = lambda *told: None
    report = session.convert(tmp_path / "m.pt", tmp_path / "out", **options)

    assert left == ["m.pt"]
    assert {file.target for file in report.files} == {"pth", "onnx", None}


def test_an_export_is_done_where_its_caller_stands_with_the_rights_it_gives(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady.save(tmp_path / "m.pt", 0)
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    try:
        session.convert("m.pt", "out", "onnx", layout="steady")
    finally:
        os.umask(before)

    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "out/net.onnx").stat().st_mode & 0o777 == 0o600


def test_what_fails_in_the_other_process_is_raised_as_if_it_had_failed_here(
    session: Session, tmp_path: Path
) -> None:
    steady.save(tmp_path / "m.pt", 0)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "m.pt").read_bytes()[:-100])

    with pytest.raises(convcore.TargetError, match="ONNX opset 99 is not supported") as refused:
        session.convert(tmp_path / "m.pt", tmp_path / "out", "onnx", layout="steady", opset=99)
    with pytest.raises(SourceError, match=r"cut\.pt"):
        session.convert(tmp_path / "cut.pt", tmp_path / "out", "onnx", layout="steady")

    assert refused.value.seen
    assert refused.value.remedy.startswith("choose one of these with --opset")


def test_plugins_are_told_of_an_export_where_it_was_asked_for(
    session: Session, tmp_path: Path
) -> None:
    class Listener:
        told: list[Report] = []  # noqa: RUF012 # one for the test

        @convcore.hookimpl
        def convcore_converted(self, report: Report) -> None:
            self.told.append(report)

    steady.save(tmp_path / "m.pt", 0)
    manager = session.registry().manager
    assert manager is not None
    listener = Listener()
    manager.register(listener)
    try:
        report = session.convert(tmp_path / "m.pt", tmp_path / "out", "onnx", layout="steady")
    finally:
        manager.unregister(listener)

    assert listener.told == [report]
    assert report.plan.match.layout.name == "steady"
