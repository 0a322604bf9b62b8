"""A private folder becomes the output in one step, and nothing of anybody else's is lost."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from convcore.errors import TargetError, UsageError
from convcore.output.lock import locked
from convcore.output.staging import staged
from tests.conftest import HUNG_AFTER

HOST = f"{zlib.crc32(os.uname().nodename.encode()):08x}"


def ours(folder: Path, version: int = 1, **files: str) -> Path:
    """An output of convcore, as far as it matters here: files and a manifest that lists them."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    manifest = {
        "schema_version": version,
        "convcore_version": "0.1.0",
        "files": [{"path": name} for name in files],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def test_a_published_folder_appears_whole_and_alone(tmp_path: Path) -> None:
    output = tmp_path / "out"

    with staged(output) as staging:
        (staging.folder / "a").write_bytes(b"1")
        assert not output.exists()
        staging.publish()

    assert contents(output) == {"a": b"1"}
    assert beside(output) == []


def test_what_was_not_published_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"

    with pytest.raises(RuntimeError), staged(output) as staging:  # noqa: PT012 # the fault
        (staging.folder / "a").write_bytes(b"1")
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_old_output_byte_for_byte(tmp_path: Path) -> None:
    output = ours(tmp_path / "out", old="old")
    before = contents(output)

    with pytest.raises(RuntimeError), staged(output, overwrite=True) as staging:  # noqa: PT012 # likewise
        (staging.folder / "a").write_bytes(b"1")
        raise RuntimeError

    assert contents(output) == before
    assert beside(output) == []


@pytest.fixture(params=["exchange", "two renames"])
def renaming(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to replace a folder: the kernel's, and that of a system without it."""
    if request.param == "two renames":
        monkeypatch.setattr(ctypes, "CDLL", lambda *args, **more: object())
    return request.param


@pytest.mark.parametrize("version", [1, 2, 99])
def test_overwriting_replaces_an_output_of_any_version_as_a_whole(
    version: int, renaming: str, tmp_path: Path
) -> None:
    output = ours(tmp_path / "out", version, old="old")

    with staged(output, overwrite=True) as staging:
        (staging.folder / "new").write_bytes(b"new")
        staging.publish()

    assert contents(output) == {"new": b"new"}
    assert beside(output) == []


def test_files_that_convcore_did_not_write_stay_when_an_output_is_replaced(
    renaming: str, tmp_path: Path
) -> None:
    output = ours(tmp_path / "out", old="old")
    (output / "NOTES.txt").write_bytes(b"mine")

    with staged(output, overwrite=True) as staging:
        (staging.folder / "new").write_bytes(b"new")
        staging.publish()

    assert contents(output) == {"new": b"new", "NOTES.txt": b"mine"}
    assert beside(output) == []


def test_a_stranger_s_file_saved_anew_in_the_last_moment_is_the_one_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = ours(tmp_path / "out", old="old")
    (output / "NOTES.txt").write_bytes(b"first")

    def save(number: int) -> None:  # as editors do: a new file in the old one's place
        (tmp_path / "draft").write_bytes(b"second")
        (tmp_path / "draft").replace(output / "NOTES.txt")

    monkeypatch.setattr("convcore.output.staging.umask", lambda: save(0) or 0o022)
    with staged(output, overwrite=True) as staging:
        (staging.folder / "new").write_bytes(b"new")
        staging.publish()

    assert contents(output) == {"new": b"new", "NOTES.txt": b"second"}


STRANGE: dict[str, Callable[[Path], object]] = {
    "a file with one of our names": lambda out: (out / "new").write_bytes(b"mine"),
    "a folder": lambda out: (out / "runs").mkdir(),
    "a link": lambda out: (out / "latest").symlink_to("old"),
    "a link in the place of a file of ours": lambda out: (
        (out / "old").rename(out.parent / "moved"),
        (out / "old").symlink_to("../moved"),
    ),
    "a pipe": lambda out: os.mkfifo(out / "pipe"),
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE.keys())
def test_an_output_with_what_cannot_be_kept_is_left_alone(strange, tmp_path: Path) -> None:
    output = ours(tmp_path / "out", old="old")
    strange(output)
    before = sorted(output.iterdir())

    with (  # noqa: PT012 # refused before it begins, or where it ends
        pytest.raises(UsageError, match="did not write and cannot keep"),
        staged(output, overwrite=True) as staging,
    ):
        (staging.folder / "new").write_bytes(b"new")
        staging.publish()

    assert sorted(output.iterdir()) == before
    assert not [name for name in beside(output) if "convcore" in name]


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def manifest_of(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "manifest.json").write_text(text)


def linked_manifest(folder: Path) -> None:
    (folder / "manifest.json").rename(folder.parent / "theirs.json")
    (folder / "manifest.json").symlink_to("../theirs.json")


FOREIGN: dict[str, Callable[[Path], object]] = {
    "no manifest": no_manifest,
    "another tool's manifest": manifest_of('{"schema_version": 1, "files": [{"path": "old"}]}'),
    "a list": manifest_of("[]"),
    "a manifest cut short": manifest_of('{"convcore_version": "0.1.0", "files": ['),
    "a link": linked_manifest,
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_convcore_did_not_write_is_never_replaced(
    overwrite: bool, foreign: Callable[[Path], object], tmp_path: Path
) -> None:
    output = ours(tmp_path / "thesis", old="old")
    foreign(output)
    before = contents(output)

    with pytest.raises(UsageError) as caught, staged(output, overwrite=overwrite):
        pass

    assert "no output of convcore" in caught.value.what
    assert "--overwrite" not in caught.value.remedy
    assert contents(output) == before


def test_a_folder_of_somebody_else_s_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    output = tmp_path / "out"

    with pytest.raises(UsageError), staged(output, overwrite=True) as staging:  # noqa: PT012 # the end
        output.mkdir()
        (output / "mine").write_bytes(b"mine")
        staging.publish()

    assert contents(output) == {"mine": b"mine"}
    assert beside(output) == []


def test_an_existing_output_is_refused_without_overwrite(tmp_path: Path) -> None:
    output = ours(tmp_path / "out", old="old")

    with pytest.raises(UsageError, match="not empty") as caught, staged(output):
        pass

    assert "--overwrite" in caught.value.remedy


def test_an_empty_folder_may_stand_in_the_place(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()

    with staged(output) as staging:
        (staging.folder / "a").write_bytes(b"1")
        staging.publish()

    assert contents(output) == {"a": b"1"}


def test_a_link_to_a_folder_is_followed_once(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)

    with staged(tmp_path / "link") as staging:
        (staging.folder / "a").write_bytes(b"1")
        staging.publish()

    assert (tmp_path / "link").is_symlink()
    assert contents(real) == {"a": b"1"}


PLACES = {
    "a file": lambda folder: (folder / "x").write_bytes(b"") or folder / "x",
    "below a missing folder": lambda folder: folder / "no" / "x",
    "a broken link": lambda folder: (folder / "x").symlink_to("nowhere") or folder / "x",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_an_impossible_output_is_refused(place, tmp_path: Path) -> None:
    output = place(tmp_path)

    with pytest.raises(UsageError), staged(output):
        pass


@pytest.fixture
def dead() -> int:
    """A process id that nobody has any more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def publish(output: Path, **options: bool) -> None:
    with staged(output, **options) as staging:
        (staging.folder / "new").write_bytes(b"new")
        staging.publish()


def test_leftovers_of_a_killed_run_are_cleared_by_the_next(dead: int, tmp_path: Path) -> None:
    leftover = tmp_path / f".out.convcore-{dead}-{HOST}0123abcd"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"1")

    publish(tmp_path / "out")

    assert beside(tmp_path / "out") == []


def test_what_may_belong_to_somebody_at_work_is_not_cleared(dead: int, tmp_path: Path) -> None:
    alive = os.getppid()
    names = {
        "of a living process": f".out.convcore-{alive}-{HOST}0123abcd",
        "of another host": f".out.convcore-{dead}-00000bad0123abcd",
        "of another output": f".other.convcore-{dead}-{HOST}0123abcd",
        "of a user": ".out.convcore-notes",
    }
    for name in names.values():
        (tmp_path / name).mkdir()

    publish(tmp_path / "out")

    assert beside(tmp_path / "out") == sorted(names.values())


def test_a_run_s_own_folder_names_its_process_and_host(tmp_path: Path) -> None:
    with staged(tmp_path / "out") as staging:
        name = staging.folder.name

    assert name.startswith(f".out.convcore-{os.getpid()}-{HOST}")
    assert len(name.rpartition("-")[2]) == 16


def killed_between_renames(folder: Path, dead: int) -> tuple[Path, Path]:
    """What a system without an exchange of folders has after a kill between the two renames."""
    new = ours(folder / f".out.convcore-{dead}-{HOST}0123abcd", new="unpublished")
    old = ours(folder / f"{new.name}.old", old="old")
    (old / "NOTES.txt").write_bytes(b"mine")
    return new, old


@pytest.mark.parametrize("standing", ["nothing", "an empty folder"])
def test_an_old_output_whose_place_was_not_taken_is_put_back(
    standing: str, dead: int, tmp_path: Path
) -> None:
    _, old = killed_between_renames(tmp_path, dead)
    before = contents(old)
    if standing != "nothing":
        (tmp_path / "out").mkdir()

    with pytest.raises(UsageError, match="exists and is not empty"):
        publish(tmp_path / "out")

    assert contents(tmp_path / "out") == before
    assert beside(tmp_path / "out") == []


def test_an_old_output_stays_where_its_name_was_taken_by_somebody_else(
    dead: int, tmp_path: Path
) -> None:
    new, old = killed_between_renames(tmp_path, dead)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_bytes(b"mine")

    with pytest.raises(UsageError):
        publish(tmp_path / "out", overwrite=True)

    assert contents(old)["NOTES.txt"] == b"mine"
    assert beside(tmp_path / "out") == [new.name, old.name]


def test_an_old_output_that_was_replaced_is_cleared(dead: int, tmp_path: Path) -> None:
    new, _ = killed_between_renames(tmp_path, dead)
    new.rename(tmp_path / "out")

    publish(tmp_path / "out", overwrite=True)

    assert contents(tmp_path / "out") == {"new": b"new"}
    assert beside(tmp_path / "out") == []


def test_a_second_rename_that_fails_puts_the_old_output_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = ours(tmp_path / "out", old="old")
    before = contents(output)
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **more: object())
    true_rename = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if target == output and not path.name.endswith(".old"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
        return true_rename(path, target)

    monkeypatch.setattr(Path, "rename", rename)

    with pytest.raises(TargetError, match="Input/output error"):
        publish(output, overwrite=True)

    assert contents(output) == before
    assert beside(output) == []


def test_everything_is_on_the_disk_before_it_has_its_name(
    renaming: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = ours(tmp_path / "out", old="old")
    calls: list[str] = []
    true_sync = os.fsync

    def sync(descriptor: int) -> None:
        calls.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        true_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(
        "convcore.output.staging._exchange",
        lambda new, old: (calls.append("rename"), old.rename(f"{new}.old"), new.rename(old)),
    )

    with staged(output, overwrite=True) as staging:
        for name in ("one", "two", "manifest.json"):
            (staging.folder / name).write_bytes(b"1")
        folder = staging.folder.name
        staging.publish()

    assert set(calls[:3]) == {"sync one", "sync two", "sync manifest.json"}
    assert calls[3:] == [f"sync {folder}", "rename", f"sync {tmp_path.name}"]


def test_a_mounted_output_is_filled_once_all_is_on_the_disk_and_its_manifest_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    monkeypatch.setattr("convcore.output.destination.is_mount_point", lambda path: path == output)
    calls: list[str] = []
    true_sync, true_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        calls.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        true_sync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        calls.append(f"rename {path.name}")
        return true_rename(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)

    with staged(output) as staging:
        for name in ("manifest.json", "a", "z"):
            (staging.folder / name).write_bytes(b"1")
        folder = staging.folder
        staging.publish()

    assert folder.parent == output
    assert set(calls[:3]) == {"sync a", "sync z", "sync manifest.json"}
    assert calls[3] == f"sync {folder.name}"
    assert set(calls[4:6]) == {"rename a", "rename z"}
    assert calls[6:] == ["rename manifest.json", "sync out"]
    assert contents(output).keys() == {"a", "z", "manifest.json"}


def test_a_move_into_a_mounted_output_that_fails_leaves_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    monkeypatch.setattr("convcore.output.destination.is_mount_point", lambda path: path == output)
    true_rename = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "manifest.json":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
        return true_rename(path, target)

    monkeypatch.setattr(Path, "rename", rename)

    with pytest.raises(TargetError, match="Input/output"), staged(output) as staging:  # noqa: PT012 # the end
        for name in ("manifest.json", "a"):
            (staging.folder / name).write_bytes(b"1")
        staging.publish()

    assert list(output.iterdir()) == []


def test_a_lock_whose_name_was_removed_by_its_last_holder_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = tmp_path / ".out.convcore.lock"
    true_flock = fcntl.flock
    handed_over = []

    def flock(descriptor: int, how: int) -> None:
        if not handed_over:  # the holder ends between our opening the file and our locking it
            handed_over.append(name.unlink())
        true_flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)

    with locked(tmp_path / "out"):
        other = os.open(name, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            true_flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)


def test_a_disk_without_locks_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)

    publish(tmp_path / "out")

    assert contents(tmp_path / "out") == {"new": b"new"}
    assert beside(tmp_path / "out") == []


LOCKS: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to("elsewhere"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "somebody's file": lambda path: path.write_bytes(b"mine"),
}


@pytest.mark.parametrize("make", LOCKS.values(), ids=LOCKS.keys())
def test_what_has_the_lock_s_name_and_is_none_is_left_alone(make, tmp_path: Path) -> None:
    make(tmp_path / ".out.convcore.lock")

    with pytest.raises(UsageError, match="is no lock") as caught:
        publish(tmp_path / "out")

    assert "move it away" in caught.value.remedy
    assert beside(tmp_path / "out") == [".out.convcore.lock"]


def test_an_output_has_the_rights_that_the_user_gives_new_folders(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from convcore.output.staging import staged\n"
        "os.umask(0o027)\n"
        "with staged(Path(sys.argv[1])) as s: s.publish()\n"
    )

    subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=True)

    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750


def test_the_rights_of_other_threads_files_are_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The umask is the process's: whoever sets it to read it changes what others make just then."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was set"))

    publish(tmp_path / "out")


def test_a_folder_s_group_is_handed_down(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)

    publish(tmp_path / "out")

    assert (tmp_path / "out").stat().st_mode & stat.S_ISGID


def test_a_full_disk_is_told_before_the_first_byte(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="are needed"), staged(tmp_path / "out") as staging:
        staging.require(1 << 60)

    assert list(tmp_path.iterdir()) == []


def test_a_disk_fault_while_writing_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="No space left") as caught, staged(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights.pth")

    assert "free some space" in caught.value.remedy
    assert "nothing was changed" in caught.value.remedy
    assert "are free on the disk" in caught.value.seen[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.EBUSY, "below it"), (errno.EACCES, "you may write"), (errno.EFBIG, "ulimit -f"),
     (errno.EIO, "see to the disk"), (errno.EROFS, "can be written"), (errno.EDQUOT, "your quota")],
    ids=["EBUSY", "EACCES", "EFBIG", "EIO", "EROFS", "EDQUOT"],
)  # fmt: skip
def test_the_remedy_for_a_fault_of_the_system_is_for_that_fault(
    code: int, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(TargetError) as caught, staged(tmp_path / "out"):
        raise OSError(code, os.strerror(code), "weights.pth")

    assert remedy in caught.value.remedy


def test_the_second_converter_waits_and_then_finds_the_output(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from convcore.output.staging import staged\n"
        "with staged(Path(sys.argv[1])) as s: pass\n"
    )
    output = tmp_path / "out"

    with staged(output) as staging:
        second = subprocess.Popen(
            [sys.executable, "-c", code, str(output)], stderr=subprocess.PIPE, text=True
        )
        assert second.stderr is not None
        waiting = second.stderr.readline()
        (staging.folder / "a").write_bytes(b"1")
        staging.publish()
    _, rest = second.communicate(timeout=HUNG_AFTER)

    assert "waiting" in waiting
    assert "not empty" in rest
    assert beside(output) == []
