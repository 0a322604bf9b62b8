"""Few bytes that stand for much: views that repeat them, and trees of countless small parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convcore import convert, inspect
from convcore.errors import SourceError
from tests.attacks.assembler import (
    checkpoint,
    mapping,
    number,
    pickled,
    tensor,
    text,
)


@pytest.mark.parametrize("count", [10**9, 2**40, 2**60])
def test_a_view_that_repeats_a_few_bytes_for_ever_is_not_written(
    count: int, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.pt"
    path.write_bytes(checkpoint(pickled(mapping(w=tensor(shape=(count,), stride=(0,))))))

    with pytest.raises(SourceError, match="views repeat them: w alone") as caught:
        convert(path, tmp_path / "out", layout="plain")

    assert caught.value.kind == "unsafe"
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.pt"]


@pytest.mark.parametrize("command", ["convert", "diff"])
def test_names_that_share_their_elements_are_compared_once(command: str, tmp_path: Path) -> None:
    # 2,000 names of 128 MB each would be 256 GB to compare.
    path = tmp_path / "aliases.pt"
    view = tensor(shape=(1 << 25,), stride=(0,))
    names = b"".join(text(f"w{index}") + view for index in range(2000))
    path.write_bytes(checkpoint(pickled(b"}(" + names + b"u")))
    words = {
        "convert": ["convert", path, "-o", tmp_path / "out", "--layout", "plain"],
        "diff": ["diff", path, path],
    }[command]

    done = subprocess.run(
        [sys.executable, "-m", "convcore", *map(str, words)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("count", [2**20, 2**60])
def test_a_deep_look_reads_what_is_stored_and_not_what_views_make_of_it(
    count: int, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.pt"
    path.write_bytes(checkpoint(pickled(mapping(w=tensor(shape=(count,), stride=(0,))))))

    found = inspect(path, deep=True)

    assert found.document["tensor_bytes"] == 4 * count


def test_an_expanded_buffer_of_ordinary_size_is_written(tmp_path: Path) -> None:
    mask = torch.tensor([2.0]).expand(512, 512)
    torch.save({"mask": mask}, tmp_path / "x.pt")

    convert(tmp_path / "x.pt", tmp_path / "out", layout="plain")

    assert torch.equal(torch.load(tmp_path / "out/model.pth", weights_only=True)["mask"], mask)


@pytest.mark.parametrize("command", ["inspect", "convert", "diff"])
@pytest.mark.parametrize(
    "pickle",
    [b"\x80\4]" + b"N\x85a" * 1_500_000 + b".",
     pickled(b"}(" + text("w") + tensor() + text("x") + b"](" + b"N\x85" * 900_000 + b"eu", 4)],
    ids=["a list", "beside a tensor"],
)  # fmt: skip
def test_a_tree_of_countless_parts_stays_within_the_memory(
    command: str, pickle: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "wide.pt"
    path.write_bytes(checkpoint(pickle))
    words = {
        "inspect": ["inspect", path],
        "convert": ["convert", path, "-o", tmp_path / "out", "--layout", "plain"],
        "diff": ["diff", path, path],
    }[command]
    measuring = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'convcore', *sys.argv[1:]], capture_output=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", measuring, *map(str, words)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert int(done.stdout) < 256 * 1024


def test_two_keys_that_are_spelt_alike_are_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "twins.pt"
    first, second = tensor(shape=(1,)), tensor(None, 1, (1,))
    path.write_bytes(checkpoint(pickled(b"}(" + number(1) + first + text("1") + second + b"u")))

    with pytest.raises(SourceError, match="spelt alike: '1'"):
        convert(path, tmp_path / "out", layout="plain")
