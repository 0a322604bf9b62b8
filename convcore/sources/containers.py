"""Checkpoints inside zip and tar archives, opened where they lie; nothing is unpacked to disk."""

from __future__ import annotations

import zlib
from fnmatch import fnmatchcase
from typing import Any

import attrs

from convcore.errors import SourceError, UsageError
from convcore.formats import Archive, walk_tensors
from convcore.formats.containers import MEMBER_LIMIT, Member, is_container, member_names
from convcore.formats.location import Location
from convcore.names import counted, few, nearest
from convcore.sources.folders import CHECKPOINTS, content_shapes
from convcore.sources.source import Input
from convcore.tensors import ByteSource, Memory
from convcore.tensors.faults import Malformed

OPTIONS = {"member_limit": "bytes that a packed file of a container may have in memory"}
_MOST = 64
_GZIP = b"\x1f\x8b"
_STEP = 1 << 20
_OF_TORCH = ("data.pkl", "constants.pkl", "model.json")


def open_container(given: Input, fault: SourceError) -> Archive:
    """Open the checkpoint inside a file that is none itself.

    Args:
        given: The file, and ``--member``.
        fault: Why it is no checkpoint; raised where it is no container of one either.

    Raises:
        SourceError: It holds no checkpoint, several, or a damaged one.
        UsageError: ``--member`` names nothing in it.
    """
    if fault.kind == "unsafe":
        raise fault
    limit = _limit(given)
    location: Location = given.location
    source = location.open()
    head = source.read(0, min(1024, source.size))
    if head[:1] == b"\x80" and head[1:2] <= b"\5":
        return _arrays(given, fault)
    try:
        if head[:2] == _GZIP:
            location = _Unpacked(location, _gunzipped(source, limit))
            source = location.open()
            head = source.read(0, min(1024, source.size))
            packed = _packed_checkpoint(given, location)
            if packed is not None:
                return packed
        if not is_container(head):
            raise fault
        assert given.session is not None  # open_input gave it one
        names = member_names(source, given.session.budgets)
    except Malformed as trouble:
        raise fault from trouble
    if not names or any(name.rpartition("/")[2] in _OF_TORCH for name in names):
        raise fault
    return _chosen(given, location, names, fault, limit)


def _packed_checkpoint(given: Input, location: Location) -> Archive | None:
    """Return the checkpoint that a packed file is; None where it is an archive of others."""
    session = given.session
    assert session is not None  # open_input gave it one
    if session.recognised(location) is None:
        return None
    try:
        return attrs.evolve(session.open(location), path=given.path)
    except SourceError as fault:
        if fault.kind == "unsafe":
            raise
        return None


def may_hold_one(given: Input) -> bool:
    """Whether a file that no format knows is packed, or a pickle of arrays."""
    source = given.location.open()
    head = source.read(0, min(2, source.size))
    return head == _GZIP or (head[:1] == b"\x80" and head[1:2] <= b"\5")


def _limit(given: Input) -> int:
    text = given.config.get("member_limit", "")
    if text and not text.isdigit():
        raise UsageError(f"--config member_limit={text} is no number", remedy="give bytes")
    return int(text) if text else MEMBER_LIMIT


def _arrays(given: Input, fault: SourceError) -> Archive:
    """Read a pickle of NumPy arrays, as detectron2 and others write it."""
    from convcore.formats.joblib import read_joblib

    tree = read_joblib(given.path, allow_opaque_calls=given.allow_opaque_calls)
    if not any(True for _ in walk_tensors(tree, file=given.path)):
        raise fault
    return Archive(given.path, "pickle", tree)


class _Unpacked:
    """A packed file as a location whose bytes lie in memory."""

    def __init__(self, packed: Location, data: bytes) -> None:
        self.packed = packed
        self.name = packed.name.removesuffix(".gz")
        self._source = Memory(data, packed.name)

    def __str__(self) -> str:
        return str(self.packed)

    @property
    def parent(self) -> Location:
        """Where the packed file lies."""
        return self.packed.parent

    def child(self, name: str) -> Location:
        """A file holds none."""
        return self.packed.child(name)

    def list(self) -> list[Location]:
        """A file holds no others."""
        return []

    def exists(self) -> bool:
        """It was read already."""
        return True

    def is_folder(self) -> bool:
        """It is a file."""
        return False

    def open(self) -> ByteSource:
        """Its bytes."""
        return self._source

    def read_json(self, largest: int | None = None) -> Any:
        """What it holds as JSON."""
        from convcore.formats.bounded_json import LARGEST, json_of

        most = largest or LARGEST
        data = self._source.read(0, min(self._source.size, most + 1))
        return json_of(data, self.name, largest=most)


def _gunzipped(source: ByteSource, limit: int) -> bytes:
    engine, made = zlib.decompressobj(zlib.MAX_WBITS | 16), bytearray()
    try:
        for at in range(0, source.size, _STEP):
            packed = source.read(at, min(_STEP, source.size - at))
            made += engine.decompress(packed, limit + 1 - len(made))
            while engine.unconsumed_tail and len(made) <= limit:
                made += engine.decompress(engine.unconsumed_tail, limit + 1 - len(made))
            if len(made) > limit:
                raise UsageError(
                    f"{source.name} unpacks to more than {limit:,} bytes",
                    remedy="raise --config member_limit=BYTES, or unpack it first",
                )
    except zlib.error as error:
        raise Malformed(f"cannot be unpacked: {error}") from error
    if not engine.eof:
        raise Malformed("the packed file is cut short", "download or copy the file again")
    return bytes(made)


def _chosen(
    given: Input, location: Location, names: tuple[str, ...], fault: SourceError, limit: int
) -> Archive:
    if given.member is not None:
        return _open(given, location, _named(given, given.member, names), limit)
    likely = [name for name in names if name.endswith(CHECKPOINTS)][:_MOST]
    if not likely:
        raise fault
    opened: dict[str, Archive] = {}
    faults: list[SourceError] = []
    for name in likely:
        try:
            archive = _open(given, location, name, limit)
        except SourceError as error:
            faults.append(error)
            continue
        if content_shapes(archive, given.path):
            opened[name] = archive
    if not opened:
        raise next(
            (each for each in faults if each.kind == "unsafe"), faults[0] if faults else fault
        )
    if len(opened) > 1:
        raise SourceError(
            f"{given.path.name} holds {len(opened)} checkpoints: {few(list(opened), 12)}",
            seen=[
                f"{name}: {counted(len(content_shapes(archive, given.path)), 'tensor')}"
                for name, archive in opened.items()
            ],
            remedy=f"take one with --member, for example --member {next(iter(opened))}",
        )
    ((name, archive),) = opened.items()
    others = [each for each in names if each != name]
    said = f"read from {name} inside {given.path.name}"
    said += f"; beside it: {few(others, 8)}" if others else ""
    return attrs.evolve(archive, evidence=(*archive.evidence, said))


def _named(given: Input, member: str, names: tuple[str, ...]) -> str:
    """Return the member that ``--member`` means."""
    wanted = member.removeprefix("./")
    fits = [wanted] if wanted in names else [n for n in names if fnmatchcase(n, wanted)]
    if len(fits) == 1:
        return fits[0]
    raise UsageError(
        f"--member {member} fits {few(fits)}"
        if fits
        else f"{given.path.name} has no file {member}",
        seen=[f"there: {few(names, 12)}", *nearest(member, names)],
        remedy="give the name of one of them",
    )


def _open(given: Input, location: Location, name: str, limit: int) -> Archive:
    session = given.session
    assert session is not None  # open_input gave it one
    archive = session.open(Member(location, name, session.budgets, limit))
    return attrs.evolve(archive, path=given.path)
