"""An output that is a mount point, as ``docker run -v out:/out`` makes one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch

from tests.conftest import HUNG_AFTER, Ran

# A mount of its own that nobody else sees, and that ends with the command.
_PRIVATE = ["unshare", "-m", "--propagation", "private", "bash", "-ec"]


def mounts_allowed() -> bool:
    if os.geteuid() != 0:
        return False
    try:
        probe = [*_PRIVATE, 'd=$(mktemp -d); mount -t tmpfs tmpfs "$d"; umount "$d"; rmdir "$d"']
        return subprocess.run(probe, capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not mounts_allowed(), reason="this machine lets nobody mount")

MOUNTS = {
    "another disk": 'mount -t tmpfs tmpfs "$OUT"',
    "a folder of the same disk": 'mount --bind "$TOP/volume" "$OUT"',
}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A checkpoint, a folder to mount on, and one to be bound there; the name needs escapes."""
    (tmp_path / "the out").mkdir()
    (tmp_path / "volume").mkdir()
    torch.save({"a.w": torch.ones(2)}, tmp_path / "m.pt")
    return tmp_path


def mounted(top: Path, mount: str, before: str, *words: str) -> tuple[Ran, dict[str, str]]:
    """Convert into a mount; return how that went, and what lay in it at the end."""
    convert = [sys.executable, "-m", "convcore", "convert", "m.pt", "--layout", "plain", *words]
    script = f'{mount}; {before}; set +e; "$@"; code=$?; cp -r "$OUT" "$TOP/seen"; exit $code'
    done = subprocess.run(
        [*_PRIVATE, script, "_", *convert],
        cwd=top, capture_output=True, text=True, timeout=HUNG_AFTER, check=False,
        env={**os.environ, "TOP": str(top), "OUT": str(top / "the out")},
    )  # fmt: skip
    seen = {p.name: p.read_text("latin-1") for p in (top / "seen").iterdir() if p.is_file()}
    return Ran(done.returncode, done.stdout, done.stderr), seen


@pytest.mark.parametrize("mount", MOUNTS.values(), ids=MOUNTS.keys())
def test_an_empty_one_is_filled_and_nothing_is_left_beside_the_files(mount: str, top: Path) -> None:
    ran, seen = mounted(top, mount, ":", "-o", "the out")

    assert ran.code == 0, ran.err
    assert seen.keys() == {"manifest.json", "model.pth", "model_config.json"}
    assert {path.name for path in top.iterdir()} == {"m.pt", "seen", "the out", "volume"}


def test_what_a_new_file_system_brings_along_is_no_content(top: Path) -> None:
    ran, seen = mounted(top, MOUNTS["another disk"], 'mkdir "$OUT/lost+found"', "-o", "the out")

    assert ran.code == 0, ran.err
    assert "manifest.json" in seen


@pytest.mark.parametrize("mount", MOUNTS.values(), ids=MOUNTS.keys())
@pytest.mark.parametrize("option", ["--overwrite", "--add", "--dry-run"])
def test_one_with_content_is_refused_with_a_remedy_that_works(
    option: str, mount: str, top: Path
) -> None:
    manifest = '{"convcore_version": "0", "files": []}'

    ran, seen = mounted(
        top, mount, f"echo '{manifest}' > \"$OUT/manifest.json\"", "-o", "the out", option
    )

    assert ran.code == 2
    assert "is a mount point and not empty" in ran.err
    assert f"-o {top / 'the out/converted'}" in ran.err
    assert seen == {"manifest.json": f"{manifest}\n"}


def test_a_folder_below_one_with_content_is_an_ordinary_output(top: Path) -> None:
    ran, _ = mounted(top, MOUNTS["another disk"], 'echo mine > "$OUT/x"', "-o", "the out/converted")

    assert ran.code == 0, ran.err
    assert (top / "seen/converted/manifest.json").is_file()


@pytest.mark.parametrize("output", ["the out", "the out/new"])
def test_a_disk_that_cannot_be_written_is_told_before_anything_is_read(
    output: str, top: Path
) -> None:
    (top / "m.pt").write_text("no checkpoint: nobody may get to reading it")

    ran, seen = mounted(top, 'mount -t tmpfs -o ro tmpfs "$OUT"', ":", "-o", output)

    assert ran.code == 2
    assert f"the folder {top / 'the out'} cannot be written" in ran.err
    assert seen == {}


def test_a_move_that_was_cut_short_is_finished_by_the_next_run(top: Path) -> None:
    host = f"{zlib.crc32(os.uname().nodename.encode()):08x}"
    left = f'"$OUT/.convcore-999999999-{host}0123abcd"'
    manifest = json.dumps({"convcore_version": "0", "files": [{"path": "a"}, {"path": "b"}]})
    before = (
        f'mkdir {left}; echo a > "$OUT/a"; echo b > {left}/b; '
        f"echo '{manifest}' > {left}/manifest.json"
    )

    ran, seen = mounted(top, MOUNTS["another disk"], before, "-o", "the out")

    assert ran.code == 2
    assert "is a mount point and not empty" in ran.err
    assert seen == {"a": "a\n", "b": "b\n", "manifest.json": f"{manifest}\n"}
