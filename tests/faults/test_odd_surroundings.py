"""Closed streams, no home, odd locales, odd files: a sentence, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import HUNG_AFTER


def convcore(*words: object, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "convcore", *map(str, words)]
    options = {"capture_output": True, "timeout": HUNG_AFTER, **options}
    return subprocess.run(command, check=False, **options)


def test_a_reader_that_goes_away_is_no_error(example: Path) -> None:
    line = f"{sys.executable} -m convcore inspect {example} --tensors"
    command = f"{line} | true; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=HUNG_AFTER
    )

    assert done.stderr == ""
    assert done.stdout.strip() == "0"


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_streams_are_survived(closed: str, example: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m convcore convert {example} -o {tmp_path}/out {closed}>&-"

    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=HUNG_AFTER
    )

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
        ["bash", "-c", command], cwd=gone, capture_output=True, text=True, timeout=HUNG_AFTER
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


@pytest.mark.parametrize(
    ("words", "code"),
    [(["inspect", "{example}"], 2), (["inspect", "{example}", "--json"], 2),
     (["inspect", "{empty}"], 3), (["inspect", "/nowhere", "--json"], 2), (["--help"], 2)],
    ids=["text", "json", "error", "json error", "help"],
)  # fmt: skip
def test_a_full_standard_output_is_told_once(
    words: list[str], code: int, example: Path, tmp_path: Path
) -> None:
    line = " ".join(word.format(example=example, empty=tmp_path) for word in words)

    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m convcore {line} > /dev/full"],
        capture_output=True, text=True, timeout=HUNG_AFTER, check=False,
    )  # fmt: skip

    assert done.returncode == code
    assert "Exception ignored" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_machine_that_gives_no_further_thread_still_converts(
    example: Path, tmp_path: Path
) -> None:
    program = (
        "import _thread, sys, threading\n"
        'def refuse(*args, **more): raise RuntimeError("can\'t start new thread")\n'
        "_thread.start_new_thread = threading._start_new_thread = refuse\n"
        "from convcore.cli import run\n"
        f"sys.argv = ['convcore', 'convert', {str(example)!r}, '-o', {str(tmp_path / 'out')!r}]\n"
        "run()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=HUNG_AFTER,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/manifest.json").is_file()


def test_an_output_that_is_a_loop_of_links_is_a_usage_error(example: Path, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("out")

    done = convcore("convert", example, "-o", tmp_path / "out")

    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_output_that_the_user_may_not_change_is_not_replaced(tmp_path: Path) -> None:
    output = tmp_path / "mine" / "out"
    output.mkdir(parents=True)
    (output / "old").write_text("old")
    (output / "manifest.json").write_text('{"convcore_version": "0", "files": [{"path": "old"}]}')
    output.chmod(0o555)
    os.chown(tmp_path / "mine", 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o011 != 0o011:
            folder.chmod(folder.stat().st_mode | 0o011)
    program = (
        "import os; from pathlib import Path; from convcore.output.staging import staged\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"with staged(Path({str(output)!r}), overwrite=True) as staging: staging.publish()"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=HUNG_AFTER,
        check=False,
    )

    assert f"you may not change the folder {output}: it belongs to user 0" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["out"]
    assert (output / "old").read_text() == "old"
