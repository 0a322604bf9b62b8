from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch

from tests.attacks import hostile
from tests.attacks.assembler import checkpoint, legacy, mapping, payload, pickled, tar, tensor, text
from tests.attacks.test_containers import LEGACY, SAFETENSORS, STORAGES, TARS, ZIPS

ROOT = Path(__file__).parent.parent.parent

# Everything the reader may need is imported before the hook is set; from then on the only events
# allowed are opening the file for reading and what the test itself does with the answer.
_WATCH = """
import sys, json, os, pkgutil, importlib, stat, heapq
import convcore.formats, convcore.tensors, convcore.formats.bounded_json, numpy
for module in pkgutil.walk_packages(convcore.formats.__path__, "convcore.formats."):
    importlib.import_module(module.name)
from convcore.formats import open_archive, as_plain, as_mapping, as_state_dict, walk_tensors
from convcore.formats.joblib import read_joblib
from convcore.errors import ConvcoreError
from pathlib import Path

paths = sys.argv[1:]
list(map(os.path.exists, paths))
events, opened = [], 0
FORBIDDEN = ("import", "exec", "compile", "os.system", "os.exec", "os.posix_spawn", "os.fork",
    "os.forkpty", "subprocess.Popen", "socket.", "ctypes.", "pickle.find_class", "marshal.",
    "code.__new__", "function.__new__", "os.remove", "os.rename", "os.mkdir", "os.rmdir",
    "os.symlink", "os.link", "os.chmod", "os.chown", "os.truncate", "os.putenv", "shutil.",
    "tempfile.", "urllib.", "http.", "ftplib.", "mmap.", "object.__setattr__", "setopencodehook",
    "webbrowser.", "sys._getframe", "os.kill", "os.chdir", "os.listdir", "os.scandir", "glob.")
watching = True

def hook(event, args):
    if not watching:
        return
    if event == "open":
        path, mode, flags = args
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        if writes or str(path) != current:
            events.append([event, str(path), flags])
    elif event.startswith(FORBIDDEN) and event != "object.__setattr__":
        events.append([event, str(args)[:200]])

current = ""
sys.addaudithook(hook)
told = {}
for current in paths:
    for read, allow in ((open_archive, 0), (open_archive, 1), (read_joblib, 0), (read_joblib, 1)):
        try:
            tree = read(current, allow_opaque_calls=bool(allow))
            tree = getattr(tree, "tree", tree)
            as_plain(tree), as_mapping(tree), as_state_dict(tree)
            for name, found in walk_tensors(tree):
                for part in found.chunks():
                    break
            opened += 1
        except ConvcoreError:
            pass
watching = False
print(json.dumps({"events": events, "opened": opened, "torch": "torch" in sys.modules}))
"""


def _files(folder: Path) -> list[Path]:
    """Every hostile file of these tests, and legal ones, so that the good path is watched too."""
    marker = folder / "marker"
    bodies = [*hostile.CODE.values(), *hostile.OPCODES.values(), payload(marker)]
    bodies += [body for body, _ in hostile.BROKEN.values()]
    datas = [wrap(pickled(body)) for body in bodies for wrap in (checkpoint, legacy, bytes)]
    datas += [data for table in (ZIPS, LEGACY, TARS, SAFETENSORS) for data, _ in table.values()]
    datas.append(tar(pickle=pickled(payload(marker)), storages=STORAGES))
    datas.append(checkpoint(pickled(mapping(w=tensor(), x=text("y")))))
    paths = []
    for index, data in enumerate(datas):
        paths.append(folder / f"{index}.pt")
        paths[-1].write_bytes(data)
    for legacy_stream in (True, False):
        paths.append(folder / f"saved-{legacy_stream}.pt")
        module = torch.nn.Linear(2, 2)
        torch.save({"m": module, "v": torch.zeros(3, 2).t(), "n": np.arange(3)}, paths[-1],
                   _use_new_zipfile_serialization=not legacy_stream)  # fmt: skip
    paths.append(folder / "arrays.pkl")
    joblib.dump({"a": np.ones(3), "o": np.array([None], dtype=object)}, paths[-1])
    return paths


def test_reading_imports_runs_writes_and_connects_nothing(tmp_path: Path) -> None:
    paths = _files(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())

    done = subprocess.run(
        [sys.executable, "-c", _WATCH, *map(str, paths)],
        capture_output=True, text=True, cwd=tmp_path, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["events"] == []
    assert found["opened"] > 50  # the good path was watched as well
    assert not found["torch"]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_hook_of_this_test_sees_what_it_is_for(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pt"
    bad.write_bytes(pickled(payload(tmp_path / "marker")))
    armed = _WATCH.replace(
        "tree = read(current, allow_opaque_calls=bool(allow))",
        "import pickle; tree = pickle.loads(open(current, 'rb').read())",
    )

    done = subprocess.run(
        [sys.executable, "-c", armed, str(bad)], capture_output=True, text=True, cwd=tmp_path
    )

    assert (tmp_path / "marker").exists()
    assert "os.system" in done.stdout + done.stderr


_FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
_FORBIDDEN_ATTRIBUTES = {
    ("pickle", "load"), ("pickle", "loads"), ("pickle", "Unpickler"), ("joblib", "load"),
    ("dill", "load"), ("marshal", "loads"), ("os", "system"), ("yaml", "load"), ("shelve", "open"),
}  # fmt: skip
# What a process that we started, of our own program, answers on its pipe; see SECURITY.md.
_OWN_PROCESS = {
    "convcore/session.py": {"pickle.loads"},
    "convcore/session_worker.py": {"pickle.loads"},
}


def _sources() -> list[Path]:
    return sorted([*ROOT.glob("convcore/**/*.py"), *ROOT.glob("plugins/**/*.py")])


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_file_unpickles_or_evaluates(path: Path) -> None:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in _FORBIDDEN_CALLS:
                found.append((node.lineno, function.id))
            if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                pair = function.value.id, function.attr
                allowed = any(
                    word.arg == "allow_pickle" and _is(word, False) for word in node.keywords
                )
                if pair in _FORBIDDEN_ATTRIBUTES and not allowed:
                    found.append((node.lineno, ".".join(pair)))
                if pair == ("torch", "load") and not any(
                    word.arg == "weights_only" and _is(word, True) for word in node.keywords
                ):
                    found.append((node.lineno, "torch.load without weights_only=True"))
            found += [
                (node.lineno, word.arg)
                for word in node.keywords
                if (word.arg == "weights_only" and not _is(word, True))
                or (word.arg == "allow_pickle" and not _is(word, False))
            ]

    own = _OWN_PROCESS.get(str(path.relative_to(ROOT)), set())
    assert [each for each in found if each[1] not in own] == []


def _is(word: ast.keyword, value: bool) -> bool:
    return isinstance(word.value, ast.Constant) and word.value.value is value
