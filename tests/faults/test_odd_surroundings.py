"""Closed streams, no home, odd locales, odd files: a sentence, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def convcore(*words: object, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "convcore", *map(str, words)]
    options = {"capture_output": True, "timeout": 60, **options}
    return subprocess.run(command, check=False, **options)


def test_a_reader_that_goes_away_is_no_error(example: Path) -> None:
    command = f"{sys.executable} -m convcore inspect {example} --tensors | head -n 1"

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)

    assert done.stderr == ""


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_streams_are_survived(closed: str, example: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m convcore convert {example} -o {tmp_path}/out {closed}>&-"

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)

    assert "Traceback" not in done.stderr
    assert (tmp_path / "out/manifest.json").is_file()


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1", "nonsense"])
def test_odd_locales_are_survived(locale: str, tmp_path: Path) -> None:
    torch.save({"gewürz.\u202eabc.\x1b[31m": torch.ones(2)}, tmp_path / "é.pt")
    environment = {"PATH": os.environ["PATH"], "LC_ALL": locale, "PYTHONIOENCODING": "latin-1"}

    done = convcore("inspect", tmp_path / "é.pt", "--tensors", env=environment)

    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout
    assert "\u202e".encode() not in done.stdout


def test_no_home_is_survived(example: Path) -> None:
    done = convcore("inspect", example, env={"PATH": os.environ["PATH"]})

    assert done.returncode == 0, done.stderr


def test_a_working_folder_that_is_gone_is_survived(example: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"rmdir {gone}; {sys.executable} -m convcore inspect {example}"

    done = subprocess.run(
        ["bash", "-c", command], cwd=gone, capture_output=True, text=True, timeout=60
    )

    assert "Traceback" not in done.stderr


def make_fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


ODD = {
    "a fifo": lambda folder: make_fifo(folder / "x"),
    "a device": lambda folder: Path("/dev/zero"),
    "a folder": lambda folder: folder,
    "a broken link": lambda folder: (folder / "x").symlink_to("nowhere") or folder / "x",
    "a loop of links": lambda folder: (folder / "x").symlink_to("x") or folder / "x",
    "a name with a NUL": lambda folder: Path("a\\0b"),
    "an empty name": lambda folder: Path(),
    "a very long name": lambda folder: folder / ("x" * 300),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_what_is_no_regular_file_is_refused_at_once(make, command: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    words = [command, path] + (["-o", tmp_path / "out"] if command == "convert" else [])

    done = convcore(*words)

    assert done.returncode in (2, 3)
    assert b"Traceback" not in done.stderr
    assert 0 < len(done.stderr) < 2048
    assert not (tmp_path / "out").exists()
