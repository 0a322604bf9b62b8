"""``manifest.json``: what an output folder holds, where it came from and how it was proved."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import convcore
from convcore.errors import SourceError, UsageError
from convcore.formats import as_plain
from convcore.formats.bounded_json import read_json
from convcore.layouts.layout import LayoutMatch
from convcore.layouts.unknown import UNKNOWN
from convcore.manifest.conformity import first_fault
from convcore.manifest.fingerprint import name_of
from convcore.sources.selection import STATISTICS
from convcore.targets.report import WrittenFile
from convcore.targets.target import Check
from convcore.tensors import LazyTensor

NAME = "manifest.json"
SCHEMA_VERSION = 1


def build(
    match: LayoutMatch,
    *,
    nbytes: int,
    sha256: str | None,
    files: Iterable[WrittenFile],
    ledger: Iterable[Mapping[str, Any]],
    checks: Iterable[Check],
    packages: Iterable[str],
    fingerprints: Mapping[str, str],
) -> dict[str, Any]:
    """Build the manifest's content; every part of it is plain data, the same for the same input.

    Args:
        match: The recognised checkpoint.
        nbytes: Size of the input.
        sha256: Of the input, or None when it was not asked for.
        files: What was written.
        ledger: Rows of ``ledger.as_rows``.
        checks: What was compared.
        packages: What the targets imported, whose versions may have shaped the output.
        fingerprints: Of the components that files were made of, see ``identity.fingerprint``.
    """
    checkpoint = match.checkpoint
    statistics = checkpoint.networks.get(STATISTICS)
    return {
        "schema_version": SCHEMA_VERSION,
        "convcore_version": convcore.__version__,
        "source": {
            "name": name_of(checkpoint.path),
            "bytes": nbytes,
            "sha256": sha256,
            "format": checkpoint.format,
            "source": checkpoint.source,
        },
        "layout": layout_name(match),
        "evidence": list(match.evidence),
        "settings": settings(match),
        "sizes": dict(match.sizes),
        "renamed": dict(checkpoint.renamed),
        **({"spelt": dict(checkpoint.spelt)} if checkpoint.spelt else {}),
        **({"statistics": list(statistics)} if statistics and layout_name(match) else {}),
        "components": [
            {**row, "fingerprint": fingerprints.get(row["name"])} for row in components(match)
        ],
        "files": [
            {
                "path": file.path,
                "component": file.component,
                "target": file.target,
                "bytes": file.nbytes,
                "sha256": file.sha256,
            }
            for file in files
        ],
        "ledger": list(ledger),
        "checks": [
            {"file": c.file, "check": c.check, "passed": c.passed, **_finite(c.figures)}
            for c in checks
        ],
        "opaque": dict(checkpoint.opaque),
        "versions": versions(packages),
    }


def layout_name(match: LayoutMatch) -> str | None:
    """Name of the layout; None for a model that none knows."""
    return None if match.layout.name == UNKNOWN else match.layout.name


def settings(match: LayoutMatch) -> dict[str, Any]:
    """Every setting with its value and origin."""
    return {
        name: {"value": as_plain(setting.value), "origin": setting.origin}
        for name, setting in match.settings.items()
    }


def components(match: LayoutMatch) -> list[dict[str, Any]]:
    """Every component that the checkpoint has, with its sizes."""
    rows = []
    for part in match.layout.components:
        state = match.states.get(part.name)
        if state is None:
            continue
        rows.append(
            {
                "name": part.name,
                "role": part.role,
                "tensor_count": len(state),
                "parameter_count": parameters(state),
                "bytes": sum(tensor.nbytes for tensor in state.values()),
            }
        )
    return rows


def parameters(state: Mapping[str, LazyTensor]) -> int:
    """How many numbers are trained: those of all tensors but the statistics of batch norms."""
    return sum(
        math.prod(tensor.shape)
        for name, tensor in state.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of installed packages; none for a pure byte copy, which no tool can change."""
    found: dict[str, str] = {}
    if not packages:
        return found
    from importlib.metadata import PackageNotFoundError, version

    for name in sorted(set(packages)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def dumps(content: object) -> bytes:
    """Render JSON for a file: UTF-8, indented, no NaN, one newline at the end."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=True)
    return text.encode() + b"\n"


def load(folder: Path) -> dict[str, Any]:
    """Read the manifest of an output folder.

    Raises:
        UsageError: There is none, or it is of another version.
        SourceError: It is damaged, or was tampered with.
    """
    path = folder / NAME
    if not path.is_file():
        raise UsageError(
            f"{folder} is no output of convcore: it has no {NAME}",
            remedy="give a folder that convcore convert wrote",
        )
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        found = content.get("schema_version") if isinstance(content, dict) else None
        raise UsageError(
            f"{path} has schema version {found!r}, this convcore reads {SCHEMA_VERSION}",
            remedy="convert the checkpoint again with this version",
        )
    fault = first_fault(content, schema())
    if fault is not None:
        raise SourceError(
            f"{path} is no manifest that convcore wrote: {fault}",
            remedy="convert the checkpoint again; the file was changed or damaged",
        )
    return content


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) that every manifest conforms to."""
    file = Path(__file__).with_name("manifest.schema.json")
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return content


def _finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity; a figure that is none is null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }
