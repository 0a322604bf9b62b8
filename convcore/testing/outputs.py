"""Output folders, held against what is promised of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from convcore.manifest.document import NAME, schema


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def schema_faults(folder: Path) -> list[str]:
    """Say where the manifest of a folder departs from its schema; needs jsonschema."""
    from jsonschema import Draft202012Validator

    content = json.loads((folder / NAME).read_bytes())
    validator = Draft202012Validator(schema())
    return [f"{fault.json_path}: {fault.message[:300]}" for fault in validator.iter_errors(content)]
