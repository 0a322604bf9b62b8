"""Whether files that stand may lie beside those of this run: one model, computed in one way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convcore.engine.audit.initializers import differing
from convcore.errors import SourceError, UsageError, warn
from convcore.formats import open_archive, walk_tensors
from convcore.layouts.layout import LayoutMatch
from convcore.manifest import document as manifest
from convcore.manifest.fingerprint import fingerprint, lasting
from convcore.names import few
from convcore.targets.report import WrittenFile
from convcore.targets.weights.files import PIECE, sha256_of
from convcore.tensors import LazyTensor
from convcore.tensors.in_step import in_step

_REMEDY = "give another folder with -o, or --overwrite instead of --add"


def refuse_other_model(before: Mapping[str, Any], match: LayoutMatch, output: Path) -> None:
    """Let files of one training alone lie in one folder, whatever the file is called.

    Args:
        before: The manifest of what stands.
        match: What is to be added.
        output: The folder.

    Raises:
        UsageError: Its layout is another, or a component has other weights now.
    """
    layout = manifest.layout_name(match)
    if before["layout"] != layout:
        raise UsageError(
            f"{output} holds the layout {before['layout'] or 'of nobody'}, not {layout}",
            remedy=_REMEDY,
        )
    differing = [
        part["name"]
        for part in before["components"]
        if part.get("fingerprint")
        and part["fingerprint"] != fingerprint(lasting(match, part["name"]))
    ]
    if differing:
        raise UsageError(
            f"{output} was made from other weights than {match.checkpoint.path} has now",
            seen=[f"{name} differs" for name in differing],
            remedy=_REMEDY,
        )


def refuse_other_settings(
    before: Mapping[str, Any], match: LayoutMatch, files: Iterable[WrittenFile], output: Path
) -> None:
    """Let what computes (a graph) be described by settings and sidecars it was made with.

    Files that hold the source's bytes and nothing else mean the same under any setting.

    Raises:
        UsageError: A setting or a sidecar differs; each is named with both values.
    """
    copied = {c["file"] for c in before["checks"] if c["check"] == "bytes equal to source"}
    if all(file.path in copied for file in files):
        return
    # As JSON has them, where a tuple is a list.
    settled = json.loads(manifest.dumps(manifest.settings(match)))
    then, now = (
        {name: setting["value"] for name, setting in side.items()}
        for side in (before["settings"], settled)
    )
    seen = [
        f"{name}: {then.get(name)} there, {now.get(name)} now"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    ]
    there = {file["path"]: file["sha256"] for file in before["files"]}
    for name, path in match.sidecars.items():
        if name in match.layout.sidecars and there.get(name) not in (None, sha256_of(path)):
            seen.append(f"{path} is not the {name} there")
    if seen:
        raise UsageError(
            f"{output} holds files that were made with other settings",
            seen=seen,
            remedy=f"give the same --config; or {_REMEDY}",
        )


def refuse_other_bytes(
    before: Mapping[str, Any], match: LayoutMatch, output: Path, files: Set[str]
) -> None:
    """Compare the weights that stand, byte for byte, with those that are read now.

    A fingerprint is made of CRC-32s, which anybody can make come out as he likes.

    Raises:
        UsageError: A tensor is another; each file is named with one.
    """
    names = {original: name for name, original in match.checkpoint.renamed.items()}
    tensors = match.checkpoint.tensors
    archives: dict[str, Mapping[str, LazyTensor]] = {}
    others: dict[str, str] = {}
    for row in before["ledger"]:
        file, key, name = row["file"], row["key"], row["tensor"]
        if file not in files or file in others or row["state"] not in ("written", "alias"):
            continue
        if file not in archives:
            archives[file] = _weights_in(output / file)
        source = tensors.get(names.get(name, name))
        there = archives[file].get(key)
        if source is None or (archives[file] and (there is None or not _equal(there, source))):
            others[file] = name
    others |= _graphs_that_differ(before, match, output, files)
    if others:
        raise UsageError(
            f"{output} was made from other weights than {match.checkpoint.path} has now",
            seen=[f"{file}: {name} differs" for file, name in others.items()],
            remedy=_REMEDY,
        )


def _graphs_that_differ(
    before: Mapping[str, Any], match: LayoutMatch, output: Path, files: Set[str]
) -> dict[str, str]:
    graphs = sorted(file for file in files if file.endswith(".onnx"))
    if graphs and find_spec("onnx") is None:
        warn(f"onnx is not installed: the weights in {few(graphs)} are not compared again")
        return {}
    tensors = {match.checkpoint.original(n): t for n, t in match.checkpoint.tensors.items()}
    found = {file: next(differing(output / file, before, tensors), None) for file in graphs}
    return {file: name for file, name in found.items() if name is not None}


def _weights_in(path: Path) -> Mapping[str, LazyTensor]:
    """Return what a weight file holds; nothing for a graph, or a format of a stranger's own."""
    try:
        return {} if path.suffix == ".onnx" else dict(walk_tensors(open_archive(path).tree))
    except SourceError:
        return {}


def _equal(one: LazyTensor, two: LazyTensor) -> bool:
    pieces = in_step(one.chunks(PIECE), two.chunks(PIECE))
    return one.spec == two.spec and all(here == there for here, there in pieces)
