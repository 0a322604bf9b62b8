"""Options of ``diff``."""

from __future__ import annotations

from pathlib import Path

import attrs

from convcore.options.field import argument, given
from convcore.options.shared import Opening
from convcore.options.values import as_path, maybe_path


@attrs.frozen(eq=False, repr=False)
class DiffOptions(Opening):
    """What ``diff`` takes."""

    first: Path = attrs.field(converter=as_path, metadata=argument("One of the two.", "A"))
    second: Path = attrs.field(converter=as_path, metadata=argument("The other.", "B"))
    key_a: str | None = attrs.field(
        default=None, kw_only=True, metadata=given("As --key, in A alone.", metavar="PATH")
    )
    key_b: str | None = attrs.field(
        default=None, kw_only=True, metadata=given("As --key, in B alone.", metavar="PATH")
    )
    align: bool = attrs.field(
        default=False,
        kw_only=True,
        metadata=given(
            "Find what renames A's keys to B's; B may be a JSON list of names and shapes, or a "
            "text with load_state_dict's message."
        ),
    )
    write: Path | None = attrs.field(
        default=None,
        kw_only=True,
        converter=maybe_path,
        metadata=given("Write what --align finds, for --rename.", metavar="FILE.toml", kind=Path),
    )
