"""Whether files that stand may lie beside those of this run: one model, computed in one way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from convcore.errors import UsageError
from convcore.model import LayoutMatch
from convcore.output import manifest
from convcore.output.identity import fingerprint
from convcore.output.report import WrittenFile
from convcore.weights.files import sha256_of

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
    if before["layout"] != match.layout.name:
        raise UsageError(
            f"{output} holds the layout {before['layout']}, not {match.layout.name}",
            remedy=_REMEDY,
        )
    differing = [
        part["name"]
        for part in before["components"]
        if part.get("fingerprint")
        and part["fingerprint"] != fingerprint(match.states.get(part["name"], {}))
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
