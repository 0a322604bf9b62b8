"""Output folders, held against what is promised of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def manifest_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of ``manifest.json`` that convcore ships."""
    file = resources.files("convcore") / "schemas" / "manifest.schema.json"
    schema: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return schema


def schema_faults(manifest: Mapping[str, Any]) -> list[str]:
    """Say where a manifest departs from its schema; needs jsonschema."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(manifest_schema())
    return [
        f"{fault.json_path}: {fault.message[:300]}" for fault in validator.iter_errors(manifest)
    ]
