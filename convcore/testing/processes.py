"""Fresh interpreters: what a plugin imports is only seen where nothing is imported yet."""

from __future__ import annotations

import builtins
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

# What no declaration may import: each costs every command a good part of a second.
HEAVY = frozenset(
    {"jax", "lightning", "matplotlib", "numpy", "onnx", "onnxruntime", "onnxscript", "pandas",
     "safetensors", "scipy", "sklearn", "tensorflow", "torch", "transformers"}
)  # fmt: skip
# What convcore itself imports to start: there whenever a plugin is.
ALWAYS = frozenset({"attr", "attrs", "click", "convcore", "pluggy"})


def run_python(
    module: str, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``python -P -m module`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )


@attrs.frozen
class Declared:
    """A plugin as a process finds it that has nothing else loaded.

    Attributes:
        heavy: The heavy packages that are loaded once it has declared everything.
        complaints: What ``convcore plugins`` would say of it.
    """

    heavy: frozenset[str]
    complaints: tuple[str, ...]


@functools.cache
def declared(plugin: str) -> Declared:
    """Load a plugin by the name of its entry point, in a process of its own."""
    done = run_python(__name__, "declare", plugin)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return Declared(HEAVY & set(found["modules"]), tuple(found["complaints"]))


def loaded_by_running(*words: str) -> set[str]:
    """Run a command and return the heavy packages that are loaded when it ends."""
    done = run_python(__name__, "modules", *words)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1])) & HEAVY


def imported_by_running(package: str, *words: str) -> set[str]:
    """Run a command and return what a package, or convcore for it, imported from elsewhere.

    Args:
        package: Top-level name of the plugin's import package.
        words: Words of the command.
    """
    done = run_python(__name__, "trace", package, *words)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def brought_by(packages: Sequence[str]) -> set[str]:
    """Return import names of packages and of everything their distributions require."""
    names = metadata.packages_distributions()
    owners: dict[str, set[str]] = {}
    for name, distributions in names.items():
        for distribution in distributions:
            owners.setdefault(_folded(distribution), set()).add(name)
    found, waiting = set(packages), [d for name in packages for d in names.get(name, ())]
    seen = set()
    while waiting:
        distribution = _folded(waiting.pop())
        if distribution in seen:
            continue
        seen.add(distribution)
        found |= owners.get(distribution, set())
        try:
            required = metadata.requires(distribution) or ()
        except metadata.PackageNotFoundError:
            continue
        waiting += [_requirement(line) for line in required if "extra ==" not in line]
    return found


def _requirement(line: str) -> str:
    end = next((i for i, char in enumerate(line) if not (char.isalnum() or char in "-_.")), None)
    return line[:end]


def _folded(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _declare(plugin: str) -> None:
    import pluggy

    from convcore.host import hookspecs
    from convcore.host.discovery import installed
    from convcore.host.entries import GROUP, load

    manager = pluggy.PluginManager("convcore")
    manager.add_hookspecs(hookspecs)
    complaints: list[str] = []
    for entry in installed(GROUP):
        if entry.name == plugin:
            found, _ = load(entry, manager)
            complaints += [found.error] if found.error else []
            # How long an import takes is the machine's affair as much as the plugin's.
            complaints += [said for said in found.warnings if "to import" not in said]
    modules = sorted({name.partition(".")[0] for name in sys.modules})
    sys.stdout.write(json.dumps({"modules": modules, "complaints": complaints}))


def _trace(package: str, words: Sequence[str]) -> None:
    imported: set[str] = set()
    original: Callable[..., Any] = builtins.__import__

    def tracing(name: str, *arguments: Any, **more: Any) -> Any:
        caller = (arguments[0] if arguments else more.get("globals")) or {}
        level = arguments[3] if len(arguments) > 3 else more.get("level", 0)
        home = str(caller.get("__name__", "")).partition(".")[0]
        top = name.partition(".")[0]
        if level == 0 and (home == package or (home == "convcore" and top in HEAVY)):
            imported.add(top)
        return original(name, *arguments, **more)

    builtins.__import__ = tracing
    from convcore.cli.commands import answer

    code = answer(list(words))
    builtins.__import__ = original
    foreign = imported - ALWAYS - {package} - sys.stdlib_module_names
    sys.stderr.write(f"\n{json.dumps(sorted(foreign))}\n")
    sys.exit(code)


def _modules(words: Sequence[str]) -> None:
    from convcore.cli.commands import answer

    code = answer(list(words))
    sys.stderr.write(f"\n{json.dumps(sorted({n.partition('.')[0] for n in sys.modules}))}\n")
    sys.exit(code)


if __name__ == "__main__":
    task, *rest = sys.argv[1:]
    if task == "declare":
        _declare(rest[0])
    elif task == "trace":
        _trace(rest[0], rest[1:])
    else:
        _modules(rest)
