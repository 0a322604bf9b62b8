"""Killed, interrupted, out of space: the destination is absent, as it was, or whole."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import attrs
import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import SourceError
from convcore.host.registry import load_registry
from convcore.layouts.layout import Component, Layout
from tests.conftest import HUNG_AFTER

pytestmark = pytest.mark.usefixtures("heeded_signals")

MEGABYTES = 48


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint large enough to be caught in the middle of a copy."""
    path = tmp_path_factory.mktemp("big") / "big.pt"
    blocks = {f"part{i}.weight": torch.randn(MEGABYTES * 1_000_000 // 4 // 8) for i in range(8)}
    torch.save(blocks, path)
    return path


def start(checkpoint: Path, output: Path, *words: str, **options: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "convcore", "convert", str(checkpoint), "-o", str(output)]
    options = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True, **options}
    return subprocess.Popen([*command, "--layout", "plain", *words], **options)


def whole(output: Path) -> bool:
    manifest = json.loads((output / "manifest.json").read_text())
    return all(
        sha256((output / file["path"]).read_bytes()).hexdigest() == file["sha256"]
        for file in manifest["files"]
    )


def private(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if ".convcore" in path.name]


def staged_bytes(folder: Path, process: subprocess.Popen) -> Iterator[None]:
    """Wait until the run has begun to write."""
    while process.poll() is None:
        if any(path.is_dir() and any(path.iterdir()) for path in private(folder)):
            yield
            return
        time.sleep(0.001)


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.06, 0.1, 0.2])
def test_a_kill_at_any_moment_leaves_the_output_absent_or_whole(
    delay: float, big: Path, tmp_path: Path
) -> None:
    process = start(big, tmp_path / "out")
    for _ in staged_bytes(tmp_path, process):
        time.sleep(delay)
        process.kill()
    process.communicate()

    assert not (tmp_path / "out").exists() or whole(tmp_path / "out")


def test_the_run_after_a_kill_clears_what_it_left(big: Path, tmp_path: Path) -> None:
    process = start(big, tmp_path / "out")
    for _ in staged_bytes(tmp_path, process):
        process.kill()
    process.communicate()
    assert private(tmp_path)

    again = start(big, tmp_path / "out", "--overwrite")

    again.communicate(timeout=HUNG_AFTER)
    assert again.returncode == 0
    assert whole(tmp_path / "out")
    assert private(tmp_path) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_cleans_up_and_says_so_by_its_code(
    number: signal.Signals, code: int, big: Path, tmp_path: Path
) -> None:
    process = start(big, tmp_path / "out")
    for _ in staged_bytes(tmp_path, process):
        process.send_signal(number)
    _, said = process.communicate(timeout=HUNG_AFTER)

    assert process.returncode == code
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_keeps_the_old_output(big: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "old").write_text("old")
    (output / "manifest.json").write_text('{"convcore_version": "0", "files": [{"path": "old"}]}')

    process = start(big, output, "--overwrite")
    for _ in staged_bytes(tmp_path, process):
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=HUNG_AFTER)

    assert process.returncode == 143
    assert sorted(path.name for path in output.iterdir()) == ["manifest.json", "old"]
    assert list(tmp_path.iterdir()) == [output]


def test_a_file_size_limit_is_an_error_that_leaves_nothing(big: Path, tmp_path: Path) -> None:
    limit = 4_000_000

    process = start(
        big,
        tmp_path / "out",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    _, said = process.communicate(timeout=HUNG_AFTER)

    assert process.returncode == 5, said
    assert "File too large" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_told_before_anything_is_written(big: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        process = start(big, small / "out")
        _, said = process.communicate(timeout=HUNG_AFTER)
        left = list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)

    assert process.returncode == 5
    assert "bytes free" in said
    assert left == []


def test_an_input_that_changes_while_it_is_read_is_not_published(big: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.pt"
    mine.write_bytes(big.read_bytes())
    process = start(mine, tmp_path / "out")

    for _ in staged_bytes(tmp_path, process):
        with mine.open("r+b") as file:
            file.seek(100)
            file.write(b"x")
    _, said = process.communicate(timeout=HUNG_AFTER)

    assert process.returncode == 3, said
    assert "chang" in said or "CRC" in said
    assert not (tmp_path / "out").exists()


def test_a_flipped_weight_bit_is_found_by_its_checksum(big: Path, tmp_path: Path) -> None:
    content = bytearray(big.read_bytes())
    content[len(content) // 3] ^= 1
    (tmp_path / "bad.pt").write_bytes(content)

    process = start(tmp_path / "bad.pt", tmp_path / "out")
    _, said = process.communicate(timeout=HUNG_AFTER)

    assert process.returncode == 3
    assert "CRC-32" in said
    assert not (tmp_path / "out").exists()


def test_two_converters_of_one_output_take_turns(big: Path, tmp_path: Path) -> None:
    runs = [
        start(big, tmp_path / "out", "--overwrite", stderr=subprocess.DEVNULL) for _ in range(2)
    ]

    assert [run.wait(timeout=HUNG_AFTER) for run in runs] == [0, 0]
    assert whole(tmp_path / "out")
    assert private(tmp_path) == []


def test_links_planted_in_the_parent_are_not_followed(example: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    parent = tmp_path / "parent"
    parent.mkdir()
    (parent / ".out.convcore.lock").symlink_to(victim)

    process = start(example, parent / "out")
    _, said = process.communicate(timeout=HUNG_AFTER)

    assert process.returncode == 2
    assert "is no lock" in said
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_an_input_whose_name_stands_for_another_file_is_not_published(
    how: str, big: Path, example: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.pt"
    mine.write_bytes(big.read_bytes())
    process = start(mine, tmp_path / "out", "--hash-source")

    for _ in staged_bytes(tmp_path, process):
        mine.unlink()
        if how == "replaced":
            mine.write_bytes(example.read_bytes())
    _, said = process.communicate(timeout=HUNG_AFTER)

    assert process.returncode == 3, said
    assert "changed while reading" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--verify", "none"], ["--verify", "fast"]], ids=" ".join)
@pytest.mark.parametrize("target", ["pth", "safetensors", "onnx", "state-dict"])
def test_damaged_weights_are_never_published_whatever_is_proved(
    target: str, words: list[str], example: Path, tmp_path: Path
) -> None:
    content = bytearray(example.read_bytes())
    tensors = torch.load(example, weights_only=False)["state_dict"]
    weights = max(
        (value for name, value in tensors.items() if name.startswith("generator_AB.")),
        key=torch.Tensor.numel,
    )
    content[content.index(weights.numpy().tobytes()) + 5] ^= 1
    (tmp_path / "bad.ckpt").write_bytes(content)
    command = ["convert", tmp_path / "bad.ckpt", "-o", tmp_path / "out", "--to", target, *words]

    done = subprocess.run(
        [sys.executable, "-m", "convcore", *map(str, command)],
        capture_output=True, text=True, timeout=HUNG_AFTER, check=False,
    )  # fmt: skip

    assert done.returncode == 3, done.stderr
    assert "CRC-32" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.ckpt"]


def test_what_is_written_beyond_the_chosen_components_is_never_published_damaged(
    tmp_path: Path,
) -> None:
    name = "b.weight"
    tensors = {"a.weight": torch.ones(3), name: torch.arange(4096.0)}
    torch.save(tensors, tmp_path / "bad.pt")
    content = bytearray((tmp_path / "bad.pt").read_bytes())
    content[content.index(tensors[name].numpy().tobytes()) + 5] ^= 1
    (tmp_path / "bad.pt").write_bytes(content)
    # A layout whose file for one component holds what another one has.
    layout = Layout(
        "both",
        "for a test",
        [Component("a", "a."), Component("b", "b.")],
        weights=lambda match, part: {**match.states[part], "odd": match.checkpoint.tensors[name]},
    )
    registry = load_registry()
    registry = attrs.evolve(registry, layouts={**registry.layouts, "both": layout})
    request = Request(
        tmp_path / "bad.pt", tmp_path / "out", layout="both", components=("a",), verify="none"
    )

    with pytest.raises(SourceError, match="CRC-32"):
        convert(request, registry)

    assert not (tmp_path / "out").exists()


def test_an_output_that_appears_meanwhile_is_not_replaced(big: Path, tmp_path: Path) -> None:
    process = start(big, tmp_path / "out")

    for _ in staged_bytes(tmp_path, process):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine").write_text("mine")
    _, said = process.communicate(timeout=HUNG_AFTER)

    assert process.returncode == 2, said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    assert private(tmp_path) == []


def test_two_that_add_to_one_output_lose_nothing_of_each_other(big: Path, tmp_path: Path) -> None:
    first = start(big, tmp_path / "out", stderr=subprocess.DEVNULL)
    assert first.wait(timeout=HUNG_AFTER) == 0

    runs = [
        start(big, tmp_path / "out", "--add", "--to", target, stderr=subprocess.DEVNULL)
        for target in ("safetensors", "state-dict")
    ]

    assert [run.wait(timeout=HUNG_AFTER) for run in runs] == [0, 0]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.pth", "model.safetensors", "state_dict.pth"} <= names
    assert whole(tmp_path / "out")


def test_leftovers_of_an_output_whose_name_has_a_line_break_are_cleared(
    example: Path, tmp_path: Path
) -> None:
    host = f"{zlib.crc32(os.uname().nodename.encode()):08x}"
    left = tmp_path / f".a\nb.convcore-999999999-{host}abcdef01"
    left.mkdir()

    assert (
        start(example, tmp_path / "a\nb", stderr=subprocess.DEVNULL).wait(timeout=HUNG_AFTER) == 0
    )

    assert [path.name for path in tmp_path.iterdir()] == ["a\nb"]


def test_a_terminal_that_closes_leaves_nothing(big: Path, tmp_path: Path) -> None:
    process = start(big, tmp_path / "out")
    for _ in staged_bytes(tmp_path, process):
        process.send_signal(signal.SIGHUP)
    process.communicate(timeout=HUNG_AFTER)

    assert process.returncode == 129
    assert list(tmp_path.iterdir()) == []
