"""A stranger's target, from a distribution of its own, is served as the built-in ones are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.attacks.tampering import mend
from tests.conftest import EXAMPLE, HUNG_AFTER, ROOT
from tests.environments import install_into

KEY = "encoder.0.weight"


class Convcore:
    """The command, with the stranger's distribution installed."""

    def __init__(self, installed: Path) -> None:
        self.path = os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH"))))

    def __call__(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "convcore", *map(str, words)],
            capture_output=True, text=True, timeout=HUNG_AFTER,
            env={**os.environ, "PYTHONPATH": self.path},
        )  # fmt: skip


@pytest.fixture(scope="module")
def convcore(tmp_path_factory: pytest.TempPathFactory) -> Convcore:
    installed = tmp_path_factory.mktemp("installed")
    install_into(installed, ROOT / "tests/data/npz_target")
    return Convcore(installed)


@pytest.fixture(scope="module")
def made(convcore: Convcore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "out"
    ran = convcore("convert", EXAMPLE, "-o", out, "--to", "npz", "--create-inference-script")
    assert ran.returncode == 0, ran.stderr
    return out


@pytest.fixture
def output(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


def state() -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(EXAMPLE, weights_only=True)["state_dict"]
    return found


def change(path: Path) -> None:
    """Change one number inside, and the digests, CRC-32s and all, as whoever can write would."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays[KEY].flat[0] += 1
    np.savez(path, allow_pickle=False, **arrays)
    mend(path.parent)


def test_what_it_wrote_is_what_numpy_reads(made: Path) -> None:
    whole = state()

    with np.load(made / "generator_AB.npz") as archive:
        found = {f"generator_AB.{name}": archive[name] for name in archive.files}

    assert found.keys() == {key for key in whole if key.startswith("generator_AB.")}
    assert all(np.array_equal(found[key], whole[key].numpy()) for key in found)


def test_it_is_verified_and_a_changed_number_is_found(convcore: Convcore, output: Path) -> None:
    sound = convcore("verify", output, "--json")
    change(output / "generator_AB.npz")
    changed = convcore("verify", output, "--json")

    assert sound.returncode == 0, sound.stdout
    checks = [c for c in json.loads(sound.stdout)["checks"] if c["check"] == "tensors"]
    assert {check["file"] for check in checks} == {path.name for path in output.glob("*.npz")}
    assert changed.returncode == 6
    assert "generator_AB.npz: tensors" in changed.stdout


def test_a_damaged_file_is_found_and_its_target_not_blamed(
    convcore: Convcore, output: Path
) -> None:
    path = output / "generator_AB.npz"
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo(f"{KEY}.npy").header_offset + 200] ^= 1
    path.write_bytes(data)
    mend(output)

    ran = convcore("verify", output, "--json")

    assert ran.returncode == 6
    assert "generator_AB.npz: tensors: problems the target npz" in ran.stdout
    assert "CRC-32" in ran.stdout


def test_another_target_is_added_to_it_and_it_to_another(
    convcore: Convcore, output: Path, tmp_path: Path
) -> None:
    added = convcore("convert", EXAMPLE, "-o", output, "--to", "safetensors", "--add")
    first = convcore("convert", EXAMPLE, "-o", tmp_path / "b")
    then = convcore("convert", EXAMPLE, "-o", tmp_path / "b", "--to", "npz", "--add")
    change(output / "generator_BA.npz")
    refused = convcore("convert", EXAMPLE, "-o", output, "--to", "state-dict", "--add")

    assert (added.returncode, first.returncode, then.returncode) == (0, 0, 0), then.stderr
    assert convcore("verify", tmp_path / "b").returncode == 0
    assert refused.returncode == 2
    assert f"generator_BA.npz: generator_BA.{KEY} differs" in refused.stderr
    assert not (output / "state_dict.pth").exists()


def test_it_is_compared_tensor_by_tensor(convcore: Convcore, output: Path) -> None:
    same = convcore("diff", EXAMPLE, output, "--json")
    change(output / "generator_AB.npz")
    other = convcore("diff", EXAMPLE, output, "--json")

    assert json.loads(same.stdout)["identical"]
    (changed,) = json.loads(other.stdout)["changed"]
    assert changed["name"] == f"generator_AB.{KEY}"
    assert changed["elements_changed"] == 1


def test_its_weights_are_timed(convcore: Convcore, output: Path) -> None:
    words = ["--component", "generator_AB", "--backend", "torch", "--max-time", "0.2", "--json"]

    ran = convcore("bench", output, *words)

    assert ran.returncode == 0, ran.stderr
    rows = json.loads(ran.stdout)["rows"]
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["file_bytes"] for row in rows} == {(output / "generator_AB.npz").stat().st_size}


def test_the_inference_example_reads_it_without_convcore(made: Path) -> None:
    script = made / "inference_example.py"
    alone = (
        "import runpy, sys; sys.modules.update(convcore=None);"
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )

    ran = subprocess.run(
        [sys.executable, "-I", "-c", alone, str(script)],
        capture_output=True, text=True, timeout=HUNG_AFTER,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("converted (2, 3, 40) [") == 4
    assert "needs torch and numpy only." in script.read_text()


def test_graphs_are_proved_against_its_files(convcore: Convcore, tmp_path: Path) -> None:
    words = ["--to", "npz", "--to", "onnx", "--component", "generator_AB"]

    ran = convcore("convert", EXAMPLE, "-o", tmp_path / "out", *words, "--json")

    assert ran.returncode == 0, ran.stderr
    parity = [check for check in json.loads(ran.stdout)["checks"] if check["check"] == "parity"]
    assert [check["reference"] for check in parity] == [["generator_AB.npz"]] * 2
    again = convcore("verify", tmp_path / "out", "--json")
    assert [c["check"] for c in json.loads(again.stdout)["checks"]].count("parity") == 2


@pytest.mark.parametrize("name", ["npz.level", "level"])
def test_its_options_are_its_own_and_typed(name: str, convcore: Convcore, tmp_path: Path) -> None:
    words = ["convert", EXAMPLE, "-o", tmp_path / "out", "--to", "npz"]

    wrong = convcore(*words, "--config", f"{name}=best")
    right = convcore(*words, "--config", f"{name}=9")
    elsewhere = convcore(*words[:-1], "pth", "--config", f"{name}=9")

    assert wrong.returncode == 2
    assert f"--config {name}='best' is not a legal value: say 0 to 9" in wrong.stderr
    assert right.returncode == 0, right.stderr
    with zipfile.ZipFile(tmp_path / "out/generator_AB.npz") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    assert elsewhere.returncode == 2


def test_without_its_plugin_what_it_wrote_is_named_as_not_checked(output: Path) -> None:
    ran = Convcore(Path())("verify", output)

    assert ran.returncode == 0, ran.stderr
    assert "the target npz is not installed" in ran.stdout
