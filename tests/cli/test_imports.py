"""Torch stays out until it is needed, and so does everything else that is heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "onnx", "onnxruntime", "lightning", "transformers", "sklearn")

COMMANDS = {
    "help": ["--help"],
    "plugins": ["plugins"],
    "inspect": ["inspect", "{ckpt}"],
    "inspect json": ["inspect", "{ckpt}", "--json"],
    "diff": ["diff", "{ckpt}", "{ckpt}"],
    "convert to pth": ["convert", "{ckpt}", "-o", "{tmp}/a"],
    "convert to safetensors": ["convert", "{ckpt}", "-o", "{tmp}/b", "--to", "safetensors"],
    "convert to state-dict": ["convert", "{ckpt}", "-o", "{tmp}/c", "--to", "state-dict"],
}


def modules(words: list[str]) -> set[str]:
    code = (
        "import json, os, sys\n"
        "sys.argv = ['convcore', *json.loads(sys.argv[1])]\n"
        "leave = os._exit\n"
        "def told(code):\n"
        "    print(json.dumps(sorted(sys.modules)), file=sys.stderr, flush=True)\n"
        "    leave(code)\n"
        "os._exit = told\n"
        "from convcore.cli import run\n"
        "run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(words)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command_that_copies_or_looks_imports_nothing_heavy(
    words: list[str], example: Path, tmp_path: Path
) -> None:
    loaded = modules([word.format(ckpt=example, tmp=tmp_path) for word in words])

    assert "convcore.cli" in loaded
    assert not loaded & {*HEAVY, "numpy"}


def test_looking_imports_nothing_that_only_converting_needs(example: Path) -> None:
    loaded = modules(["inspect", str(example)])

    assert "convcore.engine.inspection" in loaded
    assert not loaded & {
        "convcore.engine.plan",
        "convcore.engine.request",
        "convcore.manifest.record",
        "convcore.options.timing",
        "convcore.options.writing",
        "convcore_onnx.planning",
        "hashlib",
        "pickle",
    }
