"""Text from a file, made safe for a terminal and a log."""

from __future__ import annotations

import re

# C0, DEL and C1 controls, bidirectional overrides and isolates, line separators, lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def printable(text: str, limit: int | None = None) -> str:
    """Escape everything that could steer a terminal, and cut to ``limit`` characters."""
    if limit is not None and len(text) > limit:
        text = f"{text[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"
    return _UNSAFE.sub(
        lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text
    )
