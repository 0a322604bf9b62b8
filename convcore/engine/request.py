"""What is asked of a conversion: every option of the command, checked against the others."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import attrs

from convcore.errors import UsageError
from convcore.noun import Noun
from convcore.packages import not_installed
from convcore.targets.target import VerifyLevel


@attrs.frozen(eq=False, repr=False)
class Request(Noun):
    """Everything ``convcore convert`` takes; the defaults are the command's.

    Attributes:
        checkpoint: File or folder to read.
        output: Folder to write.
        targets: Names of targets.
        layout: Take this layout.
        source: Take this source.
        components: Names to write; empty writes all.
        splits: ``NAME=KEY_PREFIX`` pairs, for a checkpoint no layout knows.
        discriminators: Whether components with the role training are written.
        all_components: Whether training graphs go to ONNX too.
        config: Layout and target options.
        opset: ONNX operator set.
        verify: How much is proved.
        atol: Absolute parity tolerance.
        rtol: Relative parity tolerance.
        example: Whether ``inference_example.py`` is written.
        key: Where in the file the state dict lies.
        hash_source: Whether the manifest carries the input's SHA-256.
        allow_opaque_calls: Read files that name code-running callables; nothing is run.
        dry_run: Decide everything, write nothing.
        overwrite: Replace an existing output as a whole.
        add: Put further targets into an existing output of the same input.
        allow_nan: Write graphs of which an output is NaN for every input.
    """

    checkpoint: Path
    output: Path
    targets: tuple[str, ...] = ("pth",)
    layout: str | None = None
    source: str | None = None
    components: tuple[str, ...] = ()
    splits: Mapping[str, str] = attrs.field(factory=dict)
    discriminators: bool = True
    all_components: bool = False
    config: Mapping[str, str] = attrs.field(factory=dict)
    opset: int | None = None
    verify: VerifyLevel = "fast"
    atol: float | None = None
    rtol: float | None = None
    example: bool = False
    key: str | None = None
    hash_source: bool = False
    allow_opaque_calls: bool = False
    dry_run: bool = False
    overwrite: bool = False
    add: bool = False
    allow_nan: bool = False

    def __attrs_post_init__(self) -> None:
        levels = get_args(VerifyLevel)
        if self.verify not in levels:
            raise UsageError(
                f"{self.verify!r} is no level of --verify", remedy=f"give {', '.join(levels)}"
            )
        if not self.targets:
            raise UsageError("no target is named", remedy="name one with --to, for example pth")
        if self.overwrite and self.add:
            raise UsageError("--overwrite and --add exclude each other", remedy="give one of them")
        if self.components and self.splits:
            raise UsageError(
                "--component NAME and --component NAME=KEY_PREFIX exclude each other",
                remedy="select components of a known layout, or split by prefixes",
            )
        if self.splits and self.layout:
            raise UsageError(
                "--component NAME=KEY_PREFIX makes a layout of its own", remedy="leave out --layout"
            )
        if self.all_components and not self.discriminators:
            raise UsageError(
                "--all-components and --no-discriminators exclude each other",
                remedy="give one of them",
            )
        if self.example and importlib.util.find_spec("jinja2") is None:
            raise not_installed(["jinja2"], "--create-inference-script")
        refuse_no_tolerance(self.atol, self.rtol)


def refuse_no_tolerance(atol: float | None, rtol: float | None) -> None:
    """Refuse what no difference can be held against.

    Raises:
        UsageError: One is negative, infinite or no number.
    """
    for option, value in (("--atol", atol), ("--rtol", rtol)):
        number = isinstance(value, int | float)
        if value is not None and not (number and 0 <= value < math.inf):
            raise UsageError(f"{option} {value} is no tolerance", remedy="give 0 or more")
