"""What of an existing output convcore wrote, and what it did not: that is never removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Set
from pathlib import Path

from convcore.errors import UsageError
from convcore.manifest.document import listed_names
from convcore.names import few
from convcore.output.destination import contents, exists
from convcore.output.digests import flush


def strangers_in(output: Path, planned: Set[str] = frozenset()) -> frozenset[str]:
    """Names of the files in an output that convcore did not write, and that stay.

    Args:
        output: What is to be replaced or added to.
        planned: Names that the run will write.

    Raises:
        UsageError: It is no output of convcore, or holds something that cannot stay as it is: a
            folder, a link, or a file with a planned name.
    """
    names = contents(output)
    if not names:
        return frozenset()
    own = listed_names(output)
    if own is None:
        raise exists(output, ours=False)
    found = frozenset(names) - own
    with os.scandir(output) as entries:
        odd = {entry.name for entry in entries if not entry.is_file(follow_symlinks=False)}
    odd = (odd & set(names)) | (found & planned)
    if odd:
        raise UsageError(
            f"{output} holds what convcore did not write and cannot keep: {few(sorted(odd))}",
            remedy="move it away, or give another folder with -o",
        )
    return found


def take(there: Path, here: Path) -> None:
    """Give a file a second name in a run's folder; a copy where the disk has no second names."""
    try:
        os.link(there, here, follow_symlinks=False)
    except OSError:
        shutil.copy2(there, here, follow_symlinks=False)
        flush(here)


def bring_over(old: Path, new: Path, strangers: Set[str]) -> None:
    """Bring strangers' files over that were saved anew after they were taken.

    Args:
        old: The output that was replaced just now, and is about to be removed.
        new: What stands in its place.
        strangers: Names that were taken over.
    """
    for name in strangers:
        there, here = old / name, new / name
        if os.path.lexists(there) and not os.path.samestat(there.lstat(), here.lstat()):
            there.replace(here)
