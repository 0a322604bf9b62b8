"""Many files are read with few descriptors, and what is opened again must be the same file."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from convcore.errors import SourceError
from convcore.formats import open_archive
from convcore.tensors import descriptors
from convcore.tensors.local_file import LocalFile

SHARDS = 300


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def raw(index: int) -> bytes:
    """A safetensors file of one tensor of two bytes, written by hand to be quick."""
    header = json.dumps({f"t{index}": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}})
    return len(header).to_bytes(8, "little") + header.encode() + bytes([index % 256, index // 256])


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for index in range(SHARDS):
        (tmp_path / f"{index}.safetensors").write_bytes(raw(index))
    weight_map = {f"t{index}": f"{index}.safetensors" for index in range(SHARDS)}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


def test_more_shards_than_a_process_may_open_are_read(shards: Path) -> None:
    code = (
        "import sys; from convcore.formats import open_archive;"
        "tree = open_archive(sys.argv[1]).tree;"
        "print([b''.join(t.chunks()).hex() for t in tree.values()] * 2)"
    )
    script = f'ulimit -n 256; exec "{sys.executable}" -c "$0" "$1"'

    done = subprocess.run(
        ["bash", "-c", script, code, str(shards)], capture_output=True, text=True, check=True
    )

    expected = [bytes([index % 256, index // 256]).hex() for index in range(SHARDS)]
    assert done.stdout == f"{expected * 2}\n"


def test_few_descriptors_stay_open(shards: Path) -> None:
    before = _open_files()

    tree = open_archive(shards).tree
    for tensor in tree.values():
        tensor.raw()

    assert _open_files() - before <= descriptors.MOST + 2


def _closed(path: Path) -> LocalFile:
    """A file whose descriptor went to others."""
    file = LocalFile(path)
    others = [LocalFile(path) for _ in range(3 * descriptors.MOST)]
    assert file.descriptor is None
    assert others
    return file


def test_a_file_is_opened_again_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"content")
    monkeypatch.chdir(tmp_path)
    file = _closed(Path("a"))
    monkeypatch.chdir("/")

    assert file.read(3, 4) == b"tent"
    file.check_unchanged()


@pytest.mark.parametrize("change", ["replaced", "written to", "removed", "a folder now"])
def test_what_changed_while_it_was_closed_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    file = _closed(path)
    if change == "replaced":
        (tmp_path / "b").write_bytes(b"CONTENT")
        shutil.copystat(path, tmp_path / "b")
        (tmp_path / "b").replace(path)
    elif change == "written to":
        path.write_bytes(b"content and more")
    else:
        path.unlink()
    if change == "a folder now":
        path.mkdir()

    with pytest.raises(SourceError, match="changed while reading"):
        file.read(0, 1)
    with pytest.raises(SourceError, match="changed while reading"):
        file.check_unchanged()


def test_threads_that_compete_for_descriptors_read_their_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "MOST", 2)
    paths = [tmp_path / str(index) for index in range(12)]
    for index, path in enumerate(paths):
        path.write_bytes(bytes([index]) * 50)
    files = [LocalFile(path) for path in paths]
    wrong: list[int] = []

    def reads(seed: int) -> None:
        for step in range(2000):
            index = (seed * 5 + step * 7) % len(files)
            if files[index].read(0, 50) != bytes([index]) * 50:
                wrong.append(index)

    threads = [threading.Thread(target=reads, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


@pytest.fixture
def few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_open_files() + 4, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_files_are_closed_where_the_process_has_too_many(shards: Path, few_files: None) -> None:
    tree = open_archive(shards).tree

    assert [int.from_bytes(t.raw().tobytes(), "little") for t in tree.values()] == [*range(SHARDS)]


WORDS = {
    errno.EACCES: "permissions",
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "open files",
    errno.ELOOP: "check the path",
}


@pytest.mark.parametrize("number", WORDS)
def test_the_remedy_fits_what_kept_a_file_from_being_opened(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"content")

    def refused(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(descriptors.os, "open", refused)

    with pytest.raises(SourceError, match=os.strerror(number)) as caught:
        LocalFile(tmp_path / "a")

    assert WORDS[number] in caught.value.remedy
    assert ("permissions" in caught.value.remedy) == (number == errno.EACCES)
