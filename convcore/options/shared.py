"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import attrs

from convcore.noun import Noun
from convcore.options.field import argument, given, option
from convcore.options.values import Weights, config_of, maybe_path, names

CHECKPOINT = argument("A file, or a folder that some source knows.", "CHECKPOINT")
LAYOUT_FILE = given("A layout described in TOML.", metavar="FILE.toml", kind=Path)


@attrs.frozen(eq=False, repr=False, kw_only=True, init=False)
class Opening(Noun):
    """How the tensors of a file or folder are come by."""

    source: str | None = option(None, "Take this source instead of recognising one.")
    key: str | None = option(None, "Dotted path of the state dict to take.", metavar="PATH")
    weights: Weights | None = option(
        None,
        "Weights as trained, or an average of them (auto: where there is one).",
        choices=get_args(Weights),
    )
    only: tuple[str, ...] = attrs.field(
        default=(),
        converter=names,
        metadata=given("Files of a folder. Repeats.", metavar="PATTERN", repeats=True),
    )
    member: str | None = option(None, "The file of a container to take.", metavar="NAME")
    partial: bool = option(False, "Take one shard of several as it is.")
    rename: tuple[str, ...] = attrs.field(
        default=(),
        converter=names,
        metadata=given(
            "Give tensors other names (of diff: those of A); * matches within a name. Repeats.",
            metavar="OLD=NEW|FILE.toml|weight-norm", repeats=True,
        ),
    )  # fmt: skip
    config: Mapping[str, str] = attrs.field(
        default=None,
        converter=config_of,
        metadata=given("A layout's option. Repeats.", metavar="KEY=VALUE", repeats=True),
    )
    allow_opaque_calls: bool = option(
        False, "Read the tensors of a file that names code; nothing of it is run."
    )

    def opening(self) -> dict[str, Any]:
        """The options of this class alone, as keywords for reading."""
        return {field.name: getattr(self, field.name) for field in attrs.fields(Opening)}


@attrs.frozen(eq=False, repr=False, kw_only=True, init=False)
class Recognising(Opening):
    """How the family of a model is come by, too."""

    layout: str | None = option(None, "Take this layout instead of recognising one.")
    layout_file: Path | None = attrs.field(default=None, converter=maybe_path, metadata=LAYOUT_FILE)


# Not slotted: of the two bases that a table has, one may have slots.
@attrs.frozen(eq=False, repr=False, kw_only=True, slots=False, init=False)
class Tolerances(Noun):
    """How far a graph's outputs may be from its network's."""

    atol: float | None = option(None, "Absolute parity tolerance.", kind=float)
    rtol: float | None = option(None, "Relative parity tolerance.", kind=float)
