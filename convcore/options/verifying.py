"""Options of ``verify``."""

from __future__ import annotations

from pathlib import Path

import attrs

from convcore.options.field import argument, given
from convcore.options.shared import LAYOUT_FILE, Tolerances
from convcore.options.values import as_path, maybe_path


@attrs.frozen(eq=False, repr=False)
class VerifyOptions(Tolerances):
    """What ``verify`` takes."""

    atol: float | None = attrs.field(
        default=None,
        kw_only=True,
        metadata=given("Absolute parity tolerance; the manifest's is not taken.", kind=float),
    )
    allow_nan: bool = attrs.field(
        default=False,
        kw_only=True,
        metadata=given("Let an output pass that is NaN on every input."),
    )
    folder: Path = attrs.field(
        converter=as_path, metadata=argument("An output of convcore.", "DIR")
    )
    layout_file: Path | None = attrs.field(
        default=None, kw_only=True, converter=maybe_path, metadata=LAYOUT_FILE
    )
