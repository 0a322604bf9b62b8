"""Which names of ``--config`` somebody reads, in a run or where it is only looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convcore.errors import UsageError
from convcore.layouts.layout import Layout
from convcore.sources.containers import OPTIONS as MEMBER_OPTIONS
from convcore.targets.target import Target


def check_config(layout: Layout, targets: Sequence[Target], config: Mapping[str, str]) -> None:
    """Refuse ``--config`` names that nobody in this run reads.

    Raises:
        UsageError: A name is unknown; the known ones are listed.
    """
    known = {**layout.takes, **MEMBER_OPTIONS}
    for target in targets:
        known |= {f"{target.name}.{each.name}": each.summary for each in target.options}
    short = {each.name for target in targets for each in target.options}
    for name in config:
        if name not in known and name not in short:
            raise UsageError(
                f"--config {name} means nothing to the layout {layout.name}",
                seen=[f"{option}: {help_}" for option, help_ in known.items()] or ["it takes none"],
                remedy="use one of the names listed, or leave it out",
            )
