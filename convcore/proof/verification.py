"""``verify``: is an output folder still what was written, and does it still compute the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convcore.host import Registry
from convcore.output import manifest
from convcore.proof.reopened import reopen
from convcore.target import Check
from convcore.weights.files import sha256_of


def verify(folder: Path, registry: Registry) -> list[Check]:
    """Re-hash every file of an output folder and re-run parity from what lies on disk.

    Args:
        folder: What ``convcore convert`` wrote.
        registry: Where its layout is looked up.

    Returns:
        One check per file and one per graph; those that failed say what was found, those that
        could not be made again say why.

    Raises:
        UsageError: The folder is no output of convcore.
    """
    content = manifest.load(folder)
    checks = [_hash(folder, file) for file in content["files"]]
    if all(check.passed for check in checks):
        checks += _parity(folder, content, registry)
    return checks


def _hash(folder: Path, file: Mapping[str, Any]) -> Check:
    path = folder / Path(file["path"]).name
    if not path.is_file():
        return Check(file["path"], "sha256", False, {"found": "no such file"})
    found = sha256_of(path)
    same = found == file["sha256"] and path.stat().st_size == file["bytes"]
    return Check(file["path"], "sha256", same, {"expected": file["sha256"], "found": found})


def _parity(folder: Path, content: Mapping[str, Any], registry: Registry) -> Iterator[Check]:
    graphs = {file["component"]: file["path"] for file in content["files"] if _is_graph(file)}
    if not graphs:
        return
    if content["layout"] not in registry.layouts:
        reason = f"the layout {content['layout']} is not installed"
        yield from (_not_run(path, reason) for path in graphs.values())
        return
    match = reopen(folder, registry)
    known = {graph.name: graph for graph in match.graphs()} if match.states else {}
    recorded = {check["file"]: check for check in content["checks"] if check["check"] == "parity"}
    for name, path in graphs.items():
        graph = known.get(name)
        if graph is None or not all(match.states.get(part) for part in graph.components):
            yield _not_run(path, "no weight files lie beside it to compute a reference")
            continue
        from convcore import network
        from convcore.proof import parity

        asked = recorded.get(path, {})
        atol, rtol = asked.get("atol"), asked.get("rtol")
        module = network.build(graph, match)
        yield parity.compare(module, folder / path, graph, atol=atol, rtol=rtol)


def _not_run(path: str, reason: str) -> Check:
    """What stands for a comparison that could not be made again; the hash has spoken."""
    return Check(path, "parity not re-run", True, {"reason": reason})


def _is_graph(file: Mapping[str, Any]) -> bool:
    return bool(file["component"]) and str(file["path"]).endswith(".onnx")
