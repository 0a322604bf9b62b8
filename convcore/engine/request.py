"""What is asked of a conversion: every option of the command, checked against the others."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import attrs

from convcore.errors import UsageError
from convcore.options import DEFAULT_TARGET, ConvertOptions, VerifyLevel, Weights
from convcore.packages import not_installed


@attrs.frozen(eq=False, repr=False)
class Request(ConvertOptions):
    """Everything ``convcore convert`` takes, of which nothing contradicts the rest.

    Raises:
        UsageError: Two options exclude each other, or a value is none that can be meant.
        TargetError: A package that an option needs is not installed.
    """

    def __attrs_post_init__(self) -> None:
        levels = get_args(VerifyLevel)
        if self.verify not in levels:
            raise UsageError(
                f"{self.verify!r} is no level of --verify", remedy=f"give {', '.join(levels)}"
            )
        if not self.targets:
            raise UsageError(
                "no target is named", remedy=f"name one with --to, for example {DEFAULT_TARGET}"
            )
        if self.overwrite and self.add:
            raise UsageError("--overwrite and --add exclude each other", remedy="give one of them")
        if self.weights not in (None, *get_args(Weights)):
            raise UsageError(
                f"{self.weights!r} is no kind of --weights",
                remedy=f"give {', '.join(get_args(Weights))}",
            )
        if self.split and (self.splits or self.layout):
            raise UsageError(
                "--split takes a model that no layout knows, by its first-level prefixes",
                remedy="leave out --layout and --component NAME=KEY_PREFIX",
            )
        if self.remainder and not self.splits:
            raise UsageError(
                "--remainder is what --component NAME=KEY_PREFIX leaves over",
                remedy="leave it out, or name parts by their prefixes",
            )
        if self.splits and self.layout:
            raise UsageError(
                "--component NAME=KEY_PREFIX makes a layout of its own", remedy="leave out --layout"
            )
        if self.all_components and self.no_discriminators:
            raise UsageError(
                "--all-components and --no-discriminators exclude each other",
                remedy="give one of them",
            )
        if self.create_inference_script and importlib.util.find_spec("jinja2") is None:
            raise not_installed(["jinja2"], "--create-inference-script")
        refuse_no_tolerance(self.atol, self.rtol)

    def as_record(self) -> dict[str, object]:
        """Return the options as a manifest keeps them: of a path, which is the machine's, its end.

        Where the input lies, where the output goes and what was there before are left out.
        """
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(type(self))
        return {
            (field.alias or field.name): _recorded(getattr(self, field.name))
            for field in fields
            if field.name not in _OF_THE_PLACE
        }


_OF_THE_PLACE = ("checkpoint", "output", "overwrite", "add", "dry_run")


def _recorded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _recorded(each) for name, each in value.items()}
    if isinstance(value, Path) or (isinstance(value, str) and Path(value).is_absolute()):
        return Path(value).name
    return value


def refuse_no_tolerance(atol: float | None, rtol: float | None) -> None:
    """Refuse what no difference can be held against.

    Raises:
        UsageError: One is negative, infinite or no number.
    """
    for option, value in (("--atol", atol), ("--rtol", rtol)):
        number = isinstance(value, int | float)
        if value is not None and not (number and 0 <= value < math.inf):
            raise UsageError(f"{option} {value} is no tolerance", remedy="give 0 or more")
