"""What the manifest says of its input is what other tools say of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT, Ran

FOLDER = ROOT / "examples/etm/models"
LIST = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"


def test_a_folder_is_named_by_the_digest_of_the_list_of_its_files(
    convcore: Callable[..., Ran], tmp_path: Path
) -> None:
    done = subprocess.run(LIST, shell=True, cwd=FOLDER, capture_output=True, text=True, check=True)

    ran = convcore("convert", FOLDER, "-o", tmp_path / "out", "--hash-source")

    assert ran.code == 0, ran.err
    source = json.loads((tmp_path / "out/manifest.json").read_text())["source"]
    assert source["sha256"] == done.stdout.split()[0]
    assert source["bytes"] == sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file())
