"""Benchmarks as JSON files, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import attrs

from convcore.bench.record import SCHEMA_VERSION, Benchmark, Run
from convcore.errors import SourceError, UsageError
from convcore.formats.bounded_json import read_json
from convcore.output.destination import umask

MAX_SAMPLES = 2000


def as_document(benchmark: Benchmark) -> dict[str, Any]:
    """The benchmark as plain JSON values, at most ``MAX_SAMPLES`` samples per run."""
    import cattrs

    rows = tuple(
        attrs.evolve(row, runs=tuple(_thinned(run) for run in row.runs)) for row in benchmark.rows
    )
    document: dict[str, Any] = cattrs.unstructure(attrs.evolve(benchmark, rows=rows))
    return {"schema_version": document.pop("schema_version"), **document}


def save(benchmark: Benchmark, path: Path) -> None:
    """Write the benchmark to ``path``; a kill at any moment leaves the old or the new file.

    Raises:
        UsageError: The file cannot be written there.
    """
    text = json.dumps(as_document(benchmark), separators=(",", ":"), allow_nan=False)
    try:
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(draft).chmod(0o666 & ~umask())
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(
            f"the benchmark cannot be saved to {path}: {error.strerror}",
            remedy="name a file in a folder that exists and may be written",
        ) from error


def load(path: Path) -> Benchmark:
    """Read a saved benchmark.

    Raises:
        UsageError: The file is missing, is no benchmark, or a newer convcore wrote it.
    """
    import cattrs

    remedy = "give a file that convcore bench --save wrote"
    try:
        document = read_json(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy=remedy) from error
    except SourceError as error:
        raise UsageError(f"{path} is not JSON: {error.what}", remedy=remedy) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or not isinstance(document.get("rows"), list):
        raise UsageError(f"{path} is no saved benchmark", remedy=remedy)
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path} has schema version {version}, this convcore reads up to {SCHEMA_VERSION}",
            remedy="read it with the convcore that wrote it, or a newer one",
        )
    try:
        return cattrs.Converter(prefer_attrib_converters=True).structure(document, Benchmark)
    except Exception as error:  # cattrs raises groups of whatever the fields' types raise
        raise UsageError(
            f"{path} is a damaged benchmark",
            seen=cattrs.transform_error(error),
            remedy=remedy,
        ) from error


def _thinned(run: Run) -> Run:
    count = len(run.samples_ns)
    if count <= MAX_SAMPLES:
        return run
    kept = tuple(run.samples_ns[index * count // MAX_SAMPLES] for index in range(MAX_SAMPLES))
    return attrs.evolve(run, samples_ns=kept)
