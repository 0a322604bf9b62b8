"""How files begin: enough to tell which reader to ask."""

from __future__ import annotations

from convcore.tensors.faults import Malformed

BLOCK = 512
_LEGACY_BINARY = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
_LEGACY_TEXT = b"119547037146038801333356"


def is_zip(head: bytes) -> bool:
    """Whether a file begins as zip archives do."""
    return head[:4] == b"PK\3\4"


def is_legacy(head: bytes) -> bool:
    """Whether a file begins with the magic number of torch's streams."""
    return _LEGACY_BINARY in head[:64] or _LEGACY_TEXT in head[:64]


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as safetensors do: a plausible length, then a JSON object."""
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 1 << 32


def is_tar(head: bytes) -> bool:
    """Whether a file's first 512 bytes are a tar header."""
    return len(head) >= BLOCK and head[257:262] == b"ustar" and checksum_fits(head[:BLOCK])


def checksum_fits(header: bytes) -> bool:
    """Whether a tar header's own checksum is right."""
    try:
        stated = octal(header[148:156])
    except Malformed:
        return False
    return stated == sum(header) - sum(header[148:156]) + 8 * 32


def octal(field: bytes) -> int:
    """A number of a tar header.

    Raises:
        Malformed: It is none.
    """
    text = field.strip(b" \0")
    if not text or not text.isdigit() or b"8" in text or b"9" in text:
        raise Malformed("a tar header holds no octal number")
    return int(text, 8)
