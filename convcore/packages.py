"""Packages that a light installation lacks: what needs one says so, and how to get it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from convcore.errors import TargetError

# Import name to the name it is installed by, of everything that convcore imports late.
_INSTALLED_AS = {
    "cattrs": "cattrs",
    "jinja2": "jinja2",
    "markupsafe": "jinja2",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "rich": "rich",
    "scipy": "scipy",
    "safetensors": "safetensors",
    "torch": "torch",
    "transformers": "transformers",
}
OPTIONAL = frozenset(_INSTALLED_AS)


def lacking(error: BaseException) -> str | None:
    """Name the package, one of those that convcore imports late, whose absence this error is."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    name = (error.name or "").partition(".")[0]
    return name if name in OPTIONAL else None


def not_installed(names: Sequence[str], what: str) -> TargetError:
    """The error for packages that are not there; its remedy installs versions that fit."""
    are = "is" if len(names) == 1 else "are"
    return TargetError(
        f"{what} needs {', '.join(names)}, which {are} not installed",
        remedy=f"pip install {' '.join(map(_requirement, names))}",
    )


def _requirement(name: str) -> str:
    """The package with its versions as convcore's own metadata requires them."""
    import shlex
    from importlib.metadata import PackageNotFoundError, requires

    package = _INSTALLED_AS.get(name, name)
    try:
        lines = requires("convcore") or []
    except PackageNotFoundError:
        return package
    for line in lines:
        wanted = line.partition(";")[0].strip()
        if re.split(r"[<>=!~ ;\[]", wanted, maxsplit=1)[0] == package:
            return shlex.quote(wanted)
    return package
