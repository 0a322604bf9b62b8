"""The engine asks artifacts: rooms that serve every target name none, nor a check of one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from convcore.manifest import rows
from tests.conftest import ROOT

ROOMS = ("engine", "output", "manifest", "report")
MODULES = [path for room in ROOMS for path in sorted((ROOT / "convcore" / room).rglob("*.py"))]
MODULES += [ROOT / "convcore/bench" / name for name in ("origin.py", "subject.py")]
TARGETS = re.compile(
    r"(?<![A-Za-z])(pth|onnx|safetensors|state-dict|seqsetvae)(?![A-Za-z])"
    r"|[Pp]arity|equals? (to )?source"
)

# What the first version of the manifest called its checks, which is read for good.
FIRST_VERSION = {"manifest/rows.py": rows._KINDS.keys()}


def spoken(source: str) -> Iterator[str]:
    """Every string of a module but its docstrings."""
    tree = ast.parse(source)
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "convcore")))
def test_no_module_names_a_target_its_suffix_or_what_it_checks(path: Path) -> None:
    known = FIRST_VERSION.get(str(path.relative_to(ROOT / "convcore")), ())
    named = [text for text in spoken(path.read_text("utf-8")) if TARGETS.search(text)]

    assert [text for text in named if text not in known] == []


@pytest.mark.parametrize("text", ["pth", ".onnx", "x.safetensors", "bytes equal to source"])
def test_such_a_string_would_be_found(text: str) -> None:
    source = f'"""Docstring with .pth."""\n\nKIND = {text!r}\n'

    assert [said for said in spoken(source) if TARGETS.search(said)] == [text]
