"""``convcore bench`` and ``bench-diff`` from the outside; nothing here looks at a duration."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from convcore.bench.saved import save
from tests.bench.synthetic import benchmark, row
from tests.conftest import EXAMPLE, ROOT, Ran, call

QUICK = ("--min-time", "0.01", "--max-time", "0.05", "--warmup-time", "0.02",
         "--min-iterations", "3", "--rounds", "1", "--device", "cpu")  # fmt: skip
TWO = ("--backend", "torch", "--backend", "onnxruntime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with one generator as .pth and as ONNX."""
    output = tmp_path_factory.mktemp("bench") / "out"
    ran = call("convert", EXAMPLE, "-o", output, "--to", "pth", "--to", "onnx",
               "--component", "generator_AB", "--verify", "none")  # fmt: skip
    assert ran.code == 0, ran.err
    return output


def bench(*words: object, **options: Any) -> Ran:
    return call("bench", *QUICK, *words, **options)


def test_contenders_are_timed_compared_and_saved(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "b.json"

    ran = bench(folder, *TWO, "--component", "generator_AB", "--batch-size", "2", "--batch-size",
                "1", "--size", "time=4", "--rounds", "2", "--save", saved, "--json")  # fmt: skip

    assert ran.code == 0, ran.err
    document = ran.json
    assert document == json.loads(saved.read_text())
    assert document["complete"]
    assert document["versions"].keys() >= {"torch", "onnxruntime", "python", "convcore"}
    rows = document["rows"]
    assert [(r["backend"], r["sizes"]["batch"]) for r in rows] == [
        ("torch", 1), ("torch", 2), ("onnxruntime", 1), ("onnxruntime", 2),
    ]  # fmt: skip
    for each in rows:
        assert each["status"] == "ok"
        assert each["sizes"]["time"] == 4
        assert each["parity"]["passed"]
        assert each["parity"]["max_abs_error"] < 1e-5
        assert len(each["runs"]) == 2
        assert all(len(run["samples_ns"]) >= 3 for run in each["runs"])
        assert all(run["peak_bytes"] > 1 << 20 for run in each["runs"])
    files = {"torch": "generator_AB.pth", "onnxruntime": "generator_AB.onnx"}
    for each in rows:
        assert each["file_bytes"] == (folder / files[each["backend"]]).stat().st_size
    assert set(rows[2]["providers"]) == {"CPUExecutionProvider"}
    ratio = rows[0]["summary"]["p50_ms"] / rows[2]["summary"]["p50_ms"]
    unsure = rows[0]["doubts"] or rows[2]["doubts"]
    assert rows[2]["speedup"] == (None if unsure else pytest.approx(ratio))


def test_a_checkpoint_is_converted_first_and_the_command_imports_no_torch(tmp_path: Path) -> None:
    words = ["bench", str(EXAMPLE), *TWO, "--component", "generator_BA", "--batch-size", "1",
             "--markdown", *QUICK]  # fmt: skip
    program = f"""
import sys
from convcore.cli.commands import answer
code = answer({words!r})
heavy = {{"torch", "onnx", "onnxruntime", "numpy", "matplotlib"}} & set(sys.modules)
sys.exit(code or (f"imported {{heavy}}" if heavy else 0))
"""

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert "#### generator_BA, cpu x1, time 32" in done.stdout
    assert done.stdout.count("| ok") + done.stdout.count("| unsure") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_computes_something_else_is_failed(folder: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "out"
    wrong.mkdir()
    for path in folder.iterdir():
        (wrong / path.name).write_bytes(path.read_bytes())
    model = onnx.load(wrong / "generator_AB.onnx")
    bias = next(t for t in model.graph.initializer if len(t.dims) == 1 and t.data_type == 1)
    values = onnx.numpy_helper.to_array(bias) + 0.25
    bias.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), bias.name))
    onnx.save(model, wrong / "generator_AB.onnx")

    ran = bench(wrong, *TWO, "--component", "generator_AB", "--batch-size", "1", "--json")

    assert ran.code == ran.json["error"]["exit_code"] == 6
    eager, runtime = ran.json["rows"]
    assert eager["status"] == "ok"
    assert (runtime["status"], runtime["summary"], runtime["speedup"]) == ("failed", None, None)
    assert runtime["reason"].startswith("parity: differs from torch eager by")


def test_onnx_files_without_weights_are_timed_and_their_parity_is_called_unknown(
    folder: Path, tmp_path: Path
) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for part in ("files", "ledger"):
        manifest[part] = [each for each in manifest[part] if each["target"] == "onnx"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    for file in manifest["files"]:
        (tmp_path / file["path"]).write_bytes((folder / file["path"]).read_bytes())

    ran = bench(tmp_path, *TWO, "--component", "generator_AB", "--batch-size", "1", "--json")

    assert ran.code == 0, ran.err
    eager, runtime = ran.json["rows"]
    assert (eager["status"], runtime["status"]) == ("skipped", "ok")
    assert "no weight files" in eager["reason"]
    assert runtime["parity"] is None
    assert runtime["warnings"][0].startswith("parity unknown")


def test_a_compiler_that_is_missing_fails_one_row_and_not_the_others(folder: Path) -> None:
    words = (folder, "--backend", "torch", "--backend", "torch-compile", "--component",
             "generator_AB", "--batch-size", "1", "--json")  # fmt: skip

    ran = bench(*words, env={"CXX": "/nowhere/c++"})

    assert ran.code == 0, ran.err
    eager, compiled = ran.json["rows"]
    assert (eager["status"], compiled["status"]) == ("ok", "failed")
    assert "compiler" in compiled["reason"].lower()


@pytest.mark.usefixtures("heeded_signals")
def test_an_interrupt_leaves_what_was_finished(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "b.json"
    command = [sys.executable, "-m", "convcore", "bench", folder, "--backend", "torch",
               "--component", "generator_AB", "--batch-size", "1", "--save", saved,
               "--json", *QUICK, "--rounds", "50"]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, cwd=ROOT)

    _wait_for(lambda: saved.is_file() and json.loads(saved.read_text())["rows"])
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    document = json.loads(saved.read_text())
    assert not document["complete"]
    assert document["rows"][0]["status"] == "ok"
    assert json.loads(out)["rows"][0]["summary"]["iterations"] >= 3


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--device", "tpu"], 2, "'tpu' is no device"),
        (["--size", "tme=4"], 2, "no graph here has a dynamic axis 'tme'"),
        (["--size", "time"], 2, "--size time is not understood"),
        (["--component", "genrator_AB"], 2, "no graph is called 'genrator_AB'"),
        (["--plot", "latency.pdf"], 2, "no ending of a picture"),
        (["--config", "a=b"], 2, "--config cannot change"),
    ],
    ids=["device", "axis", "size", "component", "picture", "configuration"],
)
def test_what_cannot_be_meant_is_refused_by_name(
    words: list[str], code: int, says: str, folder: Path
) -> None:
    ran = call("bench", folder, "--backend", "torch", *words, "--json")

    assert ran.code == code
    assert says in ran.json["error"]["what"]


def test_cuda_is_missed_only_when_asked_for_by_name(folder: Path) -> None:
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    quick = QUICK[:-2]  # without a device

    named = call("bench", folder, "--device", "cuda:0", "--json", env=hidden)
    auto = call("bench", folder, "--component", "generator_AB", "--backend", "torch",
                "--batch-size", "1", *quick, "--json", env=hidden)  # fmt: skip

    assert (named.code, named.json["error"]["what"]) == (2, "the device cuda:0 is not here")
    assert auto.code == 0
    assert auto.json["notes"] == ["no CUDA device here: only the CPU was timed"]


def test_an_input_that_is_not_there_is_the_same_error_as_for_convert(tmp_path: Path) -> None:
    ran = call("bench", tmp_path / "nothing", "--json")

    assert ran.code == 2
    assert "nothing" in ran.json["error"]["what"]


@pytest.mark.parametrize(
    ("after", "words", "code"),
    [
        (1.3, (), 0),
        (1.3, ("--fail-on-regression", "10"), 6),
        (1.3, ("--fail-on-regression", "50"), 0),
        (0.7, ("--fail-on-regression", "10"), 0),
        (1.0, ("--fail-on-regression", "0"), 0),
    ],
    ids=["not asked to fail", "slower", "slower, allowed", "faster", "the same"],
)
def test_a_regression_beyond_the_limit_is_exit_code_6(
    after: float, words: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    wave = [1 + 0.02 * (n * 7 % 11) for n in range(200)]
    save(benchmark(row(wave, wave)), tmp_path / "a.json")
    later = [after * value for value in wave]
    save(benchmark(row(later, later)), tmp_path / "b.json")

    ran = call("bench-diff", tmp_path / "a.json", tmp_path / "b.json", *words)

    assert ran.code == code
    expected = "slower" if after > 1 else "faster" if after < 1 else "same"
    assert f"1 {expected}" in ran.out


def test_a_comparison_is_one_json_document(tmp_path: Path) -> None:
    save(benchmark(row([1.0] * 50, [1.0] * 50)), tmp_path / "a.json")
    slow = row([2.0] * 50, [2.0] * 50)
    save(benchmark(slow, row([1.0] * 50, batch=8)), tmp_path / "b.json")

    ran = call("bench-diff", tmp_path / "a.json", tmp_path / "b.json", "--json",
               "--fail-on-regression", "20")  # fmt: skip

    assert ran.code == ran.json["error"]["exit_code"] == 6
    slower, new = ran.json["changes"]
    assert (slower["verdict"], slower["change"]) == ("slower", pytest.approx(1.0))
    assert (new["verdict"], new["sizes"]) == ("new", {"batch": 8})


def test_a_single_round_is_unsure_and_said_to_be(tmp_path: Path) -> None:
    save(benchmark(row([1.0] * 50)), tmp_path / "a.json")
    save(benchmark(row([2.0] * 50)), tmp_path / "b.json")
    words = ("bench-diff", tmp_path / "a.json", tmp_path / "b.json", "--fail-on-regression", "5")

    ran, document = call(*words), call(*words, "--json").json

    assert (ran.code, document["changes"][0]["verdict"]) == (0, "unsure")
    assert ran.out.startswith("1 unsure")
    assert "one round: the noise between processes is unknown" in ran.out
    assert (document["changes"][0]["noise"], "error" in document) == (None, False)


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
