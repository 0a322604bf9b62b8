"""Options of ``convert``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import attrs

from convcore.options.field import given, option
from convcore.options.shared import CHECKPOINT, Recognising, Tolerances
from convcore.options.values import DEFAULT_TARGET, VerifyLevel, as_path, names, parts_of


@attrs.frozen(eq=False, repr=False, kw_only=True, init=False)
class Writing(Tolerances, Recognising):
    """What is written of a model, and how it is proved.

    Attributes:
        parts: Name of a component to write, to its key prefix or None; empty writes all.
    """

    parts: Mapping[str, str | None] = attrs.field(
        default=(),
        alias="components",
        converter=parts_of,
        metadata=given("Take this one.", "--component", metavar="NAME[=KEY_PREFIX]", repeats=True),
    )
    no_discriminators: bool = option(
        False, "Leave out training components.", "--no-discriminators", "--inference-only"
    )
    split: bool = option(False, "Split one network by its first-level prefixes.")
    remainder: bool = option(False, "Write what --component NAME=KEY_PREFIX leaves over, too.")
    all_components: bool = option(False, "Export training components to ONNX too.")
    opset: int | None = option(None, "ONNX operator set (default 20).", kind=int)
    verify: VerifyLevel = option(
        "fast", "How much is proved after writing.", choices=get_args(VerifyLevel)
    )
    allow_nan: bool = option(False, "Write graphs whose outputs are NaN, not proved.")
    create_inference_script: bool = option(False, "Write inference_example.py too.")
    hash_source: bool = option(False, "Record the input's SHA-256.")
    dry_run: bool = option(False, "Show what would be written, write nothing.")
    overwrite: bool = option(False, "Replace an existing output as a whole.")
    add: bool = option(False, "Add targets to an existing output of the same input.")

    @property
    def components(self) -> tuple[str, ...]:
        """Names of components to write; empty writes all."""
        return tuple(name for name, prefix in self.parts.items() if prefix is None)

    @property
    def splits(self) -> dict[str, str]:
        """Name to key prefix, where a checkpoint that no layout knows is split."""
        return {name: prefix for name, prefix in self.parts.items() if prefix is not None}


@attrs.frozen(eq=False, repr=False)
class ConvertOptions(Writing):
    """What ``convert`` takes."""

    checkpoint: Path = attrs.field(alias="path", converter=as_path, metadata=CHECKPOINT)
    output: Path = attrs.field(
        alias="out",
        converter=as_path,
        metadata=given("Folder to write.", "-o", "--output", kind=Path, leads=True),
    )
    targets: tuple[str, ...] = attrs.field(
        default=(DEFAULT_TARGET,),
        converter=names,
        metadata=given("Target. Repeats.", "--to", repeats=True, leads=True),
    )
