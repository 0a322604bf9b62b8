"""Where a checkpoint or a file beside it lies, for formats that need not know how it is reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from convcore.formats.links import within
from convcore.tensors.byte_source import ByteSource
from convcore.tensors.faults import Malformed
from convcore.tensors.local_file import LocalFile


class Location(Protocol):
    """A file or folder; ``str()`` of it is what messages say."""

    @property
    def name(self) -> str:
        """Its last part."""

    @property
    def parent(self) -> Location:
        """The folder it lies in."""

    def child(self, name: str) -> Location:
        """What lies in it under a name; it need not be there."""

    def list(self) -> Sequence[Location]:
        """What lies in it, by name.

        Raises:
            SourceError: It may not be listed.
        """

    def exists(self) -> bool:
        """Whether there is anything."""

    def is_folder(self) -> bool:
        """Whether it is a folder."""

    def open(self) -> ByteSource:
        """Its bytes; the same source each time.

        Raises:
            UsageError: There is no such file.
            SourceError: It cannot be read, or leads out of the checkpoint's folder.
        """

    def read_json(self, largest: int | None = None) -> Any:
        """What it holds as JSON, bounded as ``bounded_json.read_json`` says."""


class LocalLocation:
    """A path on this machine.

    Args:
        path: As the user gave it, or below that.
        home: The folder that a link may not lead out of (``links``); None for what the user named.
    """

    __slots__ = ("_source", "home", "path")

    def __init__(self, path: Path, home: Path | None = None) -> None:
        self.path = path
        self.home = home
        self._source: LocalFile | None = None

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"LocalLocation({str(self.path)!r})"

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path.name

    @property
    def parent(self) -> LocalLocation:
        """The folder it lies in."""
        return LocalLocation(self.path.parent)

    def child(self, name: str) -> LocalLocation:
        """What lies in it; links of it may not lead out of it, or of what it lies in."""
        return LocalLocation(self.path / name, self.home or self.path)

    def list(self) -> Sequence[Location]:
        """What lies in it, by name; see ``Location.list``."""
        try:
            names = sorted(entry.name for entry in self.path.iterdir())
        except OSError as error:
            raise Malformed(f"cannot be listed: {error.strerror}", "check its permissions").at(
                self
            ) from error
        return [self.child(name) for name in names]

    def exists(self) -> bool:
        """Whether there is anything."""
        return self.path.exists()

    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    def open(self) -> LocalFile:
        """Its bytes; see ``Location.open``."""
        if self._source is None:
            self._source = LocalFile(self.path, place=self._place())
        return self._source

    def read_json(self, largest: int | None = None) -> Any:
        """What it holds as JSON; see ``Location.read_json``."""
        from convcore.formats.bounded_json import LARGEST, read_json  # json is seldom needed

        return read_json(self._place() or self.path, largest=largest or LARGEST)

    def _place(self) -> Path | None:
        return None if self.home is None else within(self.path, self.home)
