"""The reference of the Python interface is built from its docstrings without a warning."""

from __future__ import annotations

import runpy
from pathlib import Path

import convcore
from tests.conftest import ROOT


def test_the_reference_tells_of_every_public_name(tmp_path: Path) -> None:
    build = runpy.run_path(str(ROOT / "docs/build.py"))["build"]

    pages = build(tmp_path)

    page = (tmp_path / "convcore.html").read_text("utf-8")
    assert {"convcore.html", "index.html"} <= {path.name for path in pages}
    for name in convcore.__all__:
        assert f'id="{name}"' in page
