"""Commands run under watch: what they and all they start open, make, rename, remove and call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import attrs

# A sitecustomize of every process that is started; it writes down what Python tells audit hooks.
_HOOK = """
import json, os, sys

if "CONVCORE_WATCH" in os.environ:
    _log = os.open(os.environ["CONVCORE_WATCH"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    _WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    _PATHS = {"os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.symlink": 2,
              "os.link": 2, "os.truncate": 1, "os.chmod": 1, "os.chown": 1, "os.utime": 1}
    _STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system")
    _NETWORK = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo")

    def _note(kind, *facts):
        line = json.dumps([kind, *map(_plain, facts)]) + "\\n"
        os.write(_log, line.encode("utf-8", "surrogateescape"))

    def _plain(value):
        if isinstance(value, (list, tuple)):
            return [_plain(each) for each in value]
        return os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else str(value)

    def _place(path, folder):
        if isinstance(path, int) or not isinstance(path, (str, bytes, os.PathLike)):
            return None
        known = isinstance(folder, int) and folder >= 0
        base = os.readlink(f"/proc/self/fd/{folder}") if known else os.getcwd()
        return os.path.normpath(os.path.join(base, os.fsdecode(path)))

    def _hook(event, args):
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & _WRITES and not isinstance(path, int):
                _note("write", os.fsdecode(path))
        elif event in _PATHS:
            count = _PATHS[event]
            folders = [each for each in args[count:] if isinstance(each, int)][-count:]
            for index in range(count):
                place = _place(args[index], folders[index] if index < len(folders) else -1)
                if place:
                    _note(event, place)
        elif event.startswith(_STARTS):
            _note("start", args[0] if event != "subprocess.Popen" else args[1])
        elif event in _NETWORK and not str(args[-1]).startswith("/"):
            _note("network", event, args[1:])

    sys.addaudithook(_hook)
"""
PLANTED = ("json", "logging", "typing", "random", "tempfile", "click", "attr", "numpy", "torch",
           "onnxruntime", "pluggy", "struct")  # fmt: skip
_PLANT = "import pathlib; pathlib.Path(__file__ + '.ran').touch()\n"


@attrs.frozen
class Seen:
    """What one command did.

    Attributes:
        code: Its exit code.
        out: Its standard output.
        err: Its standard error.
        written: Everything opened for writing, made, renamed, removed or changed, as paths.
        started: Command lines of the processes started.
        network: Calls that reach for a network.
        left: Paths below home, temporary and current folder that were not there before.
    """

    code: int
    out: str
    err: str
    written: tuple[str, ...]
    started: tuple[str, ...]
    network: tuple[str, ...]
    left: tuple[str, ...]


@attrs.frozen
class World:
    """A fresh home, temporary folder and current folder; in the last, modules nobody may import."""

    folder: Path
    place: Path

    def run(self, *words: object, script: bool = False) -> Seen:
        """Run ``python -m convcore``, or the script, here, with nothing of our own environment."""
        start = [Path(sys.executable).with_name("convcore")]
        start = start if script else [sys.executable, "-m", "convcore"]
        log = self.folder / "watch/log"
        log.unlink(missing_ok=True)
        before = self._there()
        done = subprocess.run(
            [*map(str, start), *map(str, words)],
            capture_output=True, text=True, timeout=600, cwd=self.place, env=self._environment(),
        )  # fmt: skip
        events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        left = tuple(sorted(self._there() - before))
        here = str(self.place)  # a folder that is there is neither made nor written by its name
        events = [e for e in events if not (e[0] in ("write", "os.mkdir") and _at(here, e) == here)]
        return Seen(
            done.returncode,
            done.stdout,
            done.stderr,
            tuple(
                dict.fromkeys(
                    str(self.place / e[1])
                    for e in events
                    if e[0] == "write" or e[0].startswith("os.")
                )
            ),
            tuple(dict.fromkeys(" ".join(e[1]) if isinstance(e[1], list) else e[1]
                                for e in events if e[0] == "start")),
            tuple(str(e) for e in events if e[0] == "network"),
            left,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        known = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        homes = {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "home/cache",
                 "XDG_CONFIG_HOME": "home/config", "XDG_DATA_HOME": "home/data",
                 "XDG_RUNTIME_DIR": "home/run"}  # fmt: skip
        return {
            **known,
            **{name: str(self.folder / path) for name, path in homes.items()},
            "PYTHONPATH": str(self.folder / "watch"),
            "CONVCORE_WATCH": str(self.folder / "watch/log"),
        }

    def _there(self) -> set[str]:
        homes = (self.folder / name for name in ("home", "tmp", "here"))
        return {str(path.relative_to(self.folder)) for home in homes for path in home.rglob("*")}


def _at(here: str, event: list[str]) -> str:
    return os.path.normpath(os.path.join(here, event[1]))  # noqa: PTH118 # ".." and "." go, too


def world(folder: Path) -> World:
    """Make one."""
    for name in ("home", "tmp", "here", "watch"):
        (folder / name).mkdir()
    (folder / "watch/sitecustomize.py").write_text(_HOOK)
    (folder / "watch/__pycache__").write_text("")  # nothing is compiled there
    for name in PLANTED:
        (folder / "here" / f"{name}.py").write_text(_PLANT)
    return World(folder, folder / "here")
