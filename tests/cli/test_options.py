"""Options mean the same wherever they are typed, and none is silently without effect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from convcore.cli.commands import answer

Captured = pytest.CaptureFixture[str]


def refused(words: list[object], capsys: Captured) -> tuple[int, str]:
    code = answer([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)["error"]["what"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--opset", "18"], "--opset"),
        (["--atol", "1e-3", "--rtol", "0"], "--atol, --rtol"),
        (["--to", "pth", "--to", "safetensors", "--all-components"], "--all-components"),
        (["--to", "onnx", "--atol", "1", "--verify", "none"], "--atol"),
    ],
    ids=["opset", "tolerances", "all components", "a tolerance of nothing"],
)
def test_an_option_that_no_target_heeds_is_refused_by_its_name(
    words: list[str], named: str, example: Path, tmp_path: Path, capsys: Captured
) -> None:
    code, what = refused(["convert", example, "-o", tmp_path / "out", *words], capsys)

    assert code == 2
    assert what.startswith(f"{named} would change nothing with --to ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--to", "onnx", "--config", "onnx.opset=99"], 5, "opset 99 is not supported"),
        (["--to", "onnx", "--config", "opset=99"], 5, "opset 99 is not supported"),
        (
            ["--to", "onnx", "--config", "onnx.opset=new"],
            2,
            "onnx.opset='new' is not a legal value",
        ),
        (["--to", "onnx", "--config", "onnx.atol=-1"], 2, "is not a legal value: give 0 or more"),
        (["--to", "onnx", "--config", "onnx.opset=20", "--opset", "20"], 2, "given twice"),
        (["--to", "pth", "--config", "onnx.opset=20"], 2, "means nothing"),
    ],
    ids=["of its target", "alone", "no number", "no tolerance", "twice", "of another target"],
)
def test_an_option_of_a_target_is_typed_and_given_once(
    words: list[str], code: int, said: str, example: Path, tmp_path: Path, capsys: Captured
) -> None:
    answered, what = refused(["convert", example, "-o", tmp_path / "out", *words], capsys)

    assert (answered, said in what) == (code, True), what


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--component", "discriminator_A", "--no-discriminators"], "--component discriminator_A"),
        (["--all-components", "--no-discriminators", "--to", "onnx"], "--all-components"),
    ],
    ids=["a training component", "all of them"],
)
def test_options_that_contradict_one_another_are_refused(
    words: list[str], named: str, example: Path, tmp_path: Path, capsys: Captured
) -> None:
    code, what = refused(["convert", example, "-o", tmp_path / "out", *words], capsys)

    assert (code, named in what) == (2, True)


@pytest.mark.parametrize("option", ["--tensors", "--deep", "--layout=plain"])
def test_a_draft_of_a_layout_takes_no_options_that_would_not_change_it(
    option: str, example: Path, capsys: Captured
) -> None:
    code, what = refused(["inspect", example, "--suggest-layout", option], capsys)

    assert (code, what) == (
        2, f"{option.partition('=')[0]} would change nothing with --suggest-layout"
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [["--json", "inspect", "{}"], ["inspect", "--json", "{}"], ["inspect", "{}", "--json"]],
    ids=["before the command", "before the argument", "at the end"],
)
def test_json_is_taken_wherever_it_is_typed(
    words: list[str], example: Path, capsys: Captured
) -> None:
    assert answer([word.format(example) for word in words]) == 0

    assert json.loads(capsys.readouterr().out)["layout"] == "cyclegan"


@pytest.mark.parametrize(
    "words",
    [["-v", "convert", "{}"], ["convert", "-v", "{}"], ["convert", "{}", "--verbose"]],
    ids=["before the command", "before the argument", "at the end"],
)
def test_plans_and_timings_are_shown_wherever_v_is_typed(
    words: list[str], example: Path, tmp_path: Path, capsys: Captured
) -> None:
    code = answer([*(word.format(example) for word in words), "-o", str(tmp_path / "out")])

    told = capsys.readouterr().err
    assert code == 0
    assert "plan: generator_AB.pth, pth of generator_AB, " in told
    assert told.rstrip().endswith(" s in all")


@pytest.mark.parametrize("command", ["inspect", "plugins", "diff"])
def test_every_command_takes_v_and_tells_its_time(
    command: str, example: Path, capsys: Captured
) -> None:
    files = [str(example)] * {"inspect": 1, "plugins": 0, "diff": 2}[command]

    assert answer([command, *files, "-v"]) == 0

    assert capsys.readouterr().err.rstrip().endswith(" s in all")


def test_what_nobody_foresaw_is_one_document_that_calls_it_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def unforeseen(*_: object, **__: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    torch.save({"w": torch.zeros(2)}, tmp_path / "m.pt")
    monkeypatch.setattr("convcore.engine.inspection.inspect", unforeseen)

    as_json = answer(["inspect", str(tmp_path / "m.pt"), "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    plain = answer(["inspect", str(tmp_path / "m.pt")])
    said = capsys.readouterr().err

    assert (as_json, plain, error["kind"], error["exit_code"]) == (1, 1, "bug", 1)
    assert error["what"] == "ZeroDivisionError: nobody thought of this"
    assert any("in unforeseen" in frame for frame in error["seen"])
    assert "bug of convcore" in error["remedy"]
    assert "Traceback" not in said
