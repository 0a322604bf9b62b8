from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convcore.errors import TargetError, UsageError
from convcore.output.staging import staged


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
    output = tmp_path / "out"
    output.mkdir()
    (output / "old").write_bytes(b"old")

    with pytest.raises(RuntimeError), staged(output, overwrite=True) as staging:  # noqa: PT012 # likewise
        (staging.folder / "a").write_bytes(b"1")
        raise RuntimeError

    assert contents(output) == {"old": b"old"}
    assert beside(output) == []


def test_overwriting_replaces_the_folder_as_a_whole(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "old").write_bytes(b"old")

    with staged(output, overwrite=True) as staging:
        (staging.folder / "new").write_bytes(b"new")
        staging.publish()

    assert contents(output) == {"new": b"new"}
    assert beside(output) == []


def test_an_existing_output_is_refused_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")

    with pytest.raises(UsageError, match="not empty") as caught, staged(tmp_path):
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


def test_leftovers_of_a_killed_run_are_cleared_by_the_next(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    leftover = tmp_path / f".out.convcore-{dead.pid}-0123abcd"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"1")
    foreign = tmp_path / ".other.convcore-1-0123abcd"
    foreign.mkdir()

    with staged(tmp_path / "out") as staging:
        (staging.folder / "a").write_bytes(b"1")
        staging.publish()

    assert not leftover.exists()
    assert foreign.exists()


def test_a_full_disk_is_told_before_the_first_byte(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="are needed"), staged(tmp_path / "out") as staging:
        staging.require(1 << 60)

    assert list(tmp_path.iterdir()) == []


def test_a_disk_fault_while_writing_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="No space left") as caught, staged(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights.pth")

    assert "nothing was changed" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


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
    _, rest = second.communicate(timeout=60)

    assert "waiting" in waiting
    assert "not empty" in rest
    assert beside(output) == []
