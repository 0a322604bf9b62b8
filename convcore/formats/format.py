"""One kind of file, as a plugin declares it."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

import attrs

from convcore import validators as legal
from convcore.errors import PluginError, UsageError, warn
from convcore.formats.archive import Archive
from convcore.formats.budgets import DEFAULT_BUDGETS, Budgets
from convcore.formats.foreign import foreign_bytes
from convcore.formats.location import Location
from convcore.noun import Noun
from convcore.tensors.faults import Malformed

HEAD = 1024
UNFORESEEN = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


def _formats(formats: Iterable[Format]) -> tuple[Format, ...]:
    return tuple(formats)


@attrs.frozen(eq=False, repr=False)
class Format(Noun):
    """One kind of file or folder: how it is told by its bytes, and read as a tree of lazy tensors.

    A format knows no training framework and no model.

    Attributes:
        name: As ``Archive.format`` says it.
        summary: One line for ``convcore plugins``.
        sniff: Whether this is one of its kind: given its first 1024 bytes (none for a folder) and
            where it lies. Reads nothing more, unless these bytes leave it open.
        open: Returns the archive; given where it lies and the session, whose budgets it keeps and
            through which it opens other files. Raises ``SourceError`` for what is damaged.
        refines: Names of formats of which this one is a special case (a zip of another kind); it
            wins over them.
    """

    name: str = attrs.field(validator=legal.name)
    summary: str
    sniff: Callable[[bytes, Location], bool] = attrs.field(
        eq=False, repr=False, validator=legal.function
    )
    open: Callable[[Location, FormatSession], Archive] = attrs.field(
        eq=False, repr=False, validator=legal.function
    )
    refines: frozenset[str] = attrs.field(default=frozenset(), converter=_names)


@attrs.frozen(eq=False, repr=False)
class FormatSession(Noun):
    """What a format is told of the run that it reads for.

    Attributes:
        formats: All formats there are.
        budgets: How much a file may ask for.
        allow_opaque_calls: Whether files that name code-running callables may be read; nothing is
            run.
    """

    formats: tuple[Format, ...] = attrs.field(converter=_formats)
    budgets: Budgets = DEFAULT_BUDGETS
    allow_opaque_calls: bool = False

    def open(self, location: Location) -> Archive:
        """Open what lies at a location, by the format whose bytes it has.

        Raises:
            SourceError: No format knows it, several do, or it is damaged or unsafe.
            UsageError: There is nothing.
        """
        known = self.recognised(location)
        if known is None:
            raise _foreign(location)
        return known.open(location, self)

    def recognised(self, location: Location) -> Format | None:
        """Return the format of what lies at a location; None where no format knows it.

        Raises:
            SourceError: Several formats claim it, or it cannot be read.
            UsageError: There is nothing.
        """
        head = _head(location)
        claims = [each for each in self.formats if _claims(each, head, location)]
        claims = [each for each in claims if not any(each.name in c.refines for c in claims)]
        if len(claims) > 1:
            raise Malformed(
                f"is of {len(claims)} formats at once: {', '.join(each.name for each in claims)}",
                "switch off the plugin that brings one of them (convcore plugins lists them)",
            ).at(location)
        return claims[0] if claims else None


def _head(location: Location) -> bytes:
    if location.is_folder():
        return b""
    source = location.open()
    return source.read(0, min(HEAD, source.size))


def _claims(each: Format, head: bytes, location: Location) -> bool:
    try:
        return each.sniff(head, location)
    except PluginError as error:
        warn(f"the format {each.name} is left out: {error.what}")
        return False


def _foreign(location: Location) -> Exception:
    """The error for what no format knows, saying what it seems to be."""
    if location.is_folder():
        return UsageError(
            f"{location} is a folder, and holds no index of shards (*.index.json)",
            remedy="name a checkpoint file in it",
        )
    return foreign_bytes(_head(location), location.open().size).at(location)


@contextlib.contextmanager
def told_of(place: object) -> Iterator[None]:
    """Turn whatever a reader meets in damaged bytes into a ``SourceError`` that names the file.

    Raises:
        SourceError: In the place of ``Malformed``, and of what the reader did not foresee: that is
            a fault of the file's bytes.
    """
    try:
        yield
    except Malformed as fault:
        raise fault.at(place) from fault
    except UNFORESEEN as error:
        raise Malformed(f"cannot be read ({type(error).__name__})").at(place) from error
