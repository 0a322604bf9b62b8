from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from convcore.errors import SourceError
from convcore.formats import open_archive, walk_tensors
from tests.attacks import hostile
from tests.attacks.assembler import (
    call,
    checkpoint,
    legacy,
    mapping,
    name,
    number,
    payload,
    pickled,
    sizes,
    storage,
    tensor,
    text,
)  # fmt: skip

CODE = hostile.CODE | hostile.OPCODES


def _refusal(path: Path, data: bytes) -> SourceError:
    path.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        open_archive(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message) < 2000
    assert message.isprintable()
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("wrap", [checkpoint, legacy], ids=["zip", "legacy"])
@pytest.mark.parametrize("attack", CODE)
def test_what_runs_code_elsewhere_is_refused_as_unsafe(
    attack: str, wrap: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = wrap(pickled(mapping(weights=tensor()) + b"0" + CODE[attack]))

    error = _refusal(tmp_path / "bad.pt", data)

    assert error.kind == "unsafe"
    assert error.seen
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pt"]


def test_the_payload_of_these_tests_does_run_elsewhere(tmp_path: Path) -> None:
    import pickle

    marker = tmp_path / "marker"

    pickle.loads(pickled(payload(marker)))  # proves that the files refused above are armed

    assert marker.exists()


def test_asked_to_the_reader_takes_the_tensors_and_still_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "bad.pt"
    path.write_bytes(checkpoint(pickled(mapping(w=tensor(), hook=payload(marker)))))

    archive = open_archive(path, allow_opaque_calls=True)

    assert dict(walk_tensors(archive.tree))["w"].load().tolist() == [1, 2, 3, 4]
    assert archive.opaque == {"os.system": 1}
    assert archive.tree["hook"].args == (f"touch {marker}",)
    assert not marker.exists()


def test_every_alarming_name_is_told_at_once(tmp_path: Path) -> None:
    body = mapping(a=call("os", "system", text("x")), b=call("builtins", "eval", text("y")))

    error = _refusal(tmp_path / "bad.pt", checkpoint(pickled(body)))

    assert error.seen == ("os.system", "builtins.eval")


def test_a_payload_before_a_broken_stream_is_still_called_unsafe(tmp_path: Path) -> None:
    error = _refusal(
        tmp_path / "bad.pt", checkpoint(b"\x80\x02" + payload(tmp_path / "marker") + b"\xff")
    )

    assert error.kind == "unsafe"
    assert "at offset" in str(error)
    assert not (tmp_path / "marker").exists()


NORMAL = {
    "enum member": call("builtins", "getattr", name("my.module", "Colour"), text("RED")),
    "partial": name("functools", "partial") + b"(" + name("my.module", "f") + b"tR",
    "class": name("my.module", "Loss"),
    "path type": name("os", "PathLike"),
    "pure path": call("pathlib", "PosixPath", text("a")),
}


@pytest.mark.parametrize("value", NORMAL)
def test_what_normal_checkpoints_hold_raises_no_alarm(value: str, tmp_path: Path) -> None:
    path = tmp_path / "good.pt"
    path.write_bytes(checkpoint(pickled(mapping(w=tensor(), value=NORMAL[value]))))

    archive = open_archive(path)

    assert archive.tree["w"].load().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("fault", hostile.BROKEN)
def test_a_broken_or_lying_pickle_is_refused_in_one_sentence(fault: str, tmp_path: Path) -> None:
    body, word = hostile.BROKEN[fault]

    error = _refusal(tmp_path / "bad.pt", checkpoint(pickled(body)))

    assert word in str(error)
    assert error.kind == "source"
    assert "offset" in str(error)


@pytest.mark.parametrize(
    "fault",
    [
        key
        for key, (_, word) in hostile.BROKEN.items()
        if "m/data" not in word and "16 bytes" not in word and "record name" not in word
    ],
)
def test_the_legacy_stream_is_read_by_the_same_rules(fault: str, tmp_path: Path) -> None:
    body, _ = hostile.BROKEN[fault]

    assert _refusal(tmp_path / "bad.pt", legacy(pickled(body))).kind == "source"


@pytest.mark.parametrize("record", range(5))
def test_each_pickle_of_a_legacy_stream_is_under_the_same_guard(
    record: int, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    hidden = payload(marker) + b"0"
    parts = [
        pickled((hidden if record == 0 else b"") + number(0x1950A86A20F9469CFC6C)),
        pickled((hidden if record == 1 else b"") + number(1001)),
        pickled((hidden if record == 2 else b"") + b"}"),
        pickled((hidden if record == 3 else b"") + tensor()),
        pickled((hidden if record == 4 else b"") + b"]" + text("0") + b"a"),
    ]
    tail = b"\x04" + bytes(7) + bytes(16)
    path = tmp_path / "bad.pt"
    path.write_bytes(b"".join(parts) + tail)
    if record == 0:
        # The magic number is then out of sight: the file is taken for a plain pickle.
        with pytest.raises(SourceError):
            open_archive(path)
    else:
        assert _refusal(path, path.read_bytes()).kind == "unsafe"

    assert not marker.exists()


def test_bytes_after_the_pickle_are_refused(tmp_path: Path) -> None:
    error = _refusal(tmp_path / "bad.pt", checkpoint(pickled(b"N") + pickled(b"N")))

    assert "4 bytes follow the pickle" in str(error)


def test_a_tensor_changed_through_the_memo_keeps_its_numbers(tmp_path: Path) -> None:
    """CVE-2026-24747: SETITEM and the like on a tensor; here the reader has no such tensor."""
    body = tensor() + b"q\x000" + mapping(a=b"h\x00") + b"0h\x00" + text("0") + number(9) + b"s"

    assert "sets items" in str(_refusal(tmp_path / "bad.pt", checkpoint(pickled(body))))


def test_an_old_tensor_completed_after_it_was_remembered_is_complete_everywhere(
    tmp_path: Path,
) -> None:
    state = b"(" + storage() + number(1) + sizes(2) + sizes(2) + b"t"
    old = call("torch", "FloatTensor") + b"q\x00" + state + b"b"
    path = tmp_path / "old.pt"
    path.write_bytes(checkpoint(pickled(b"](" + old + b"h\x00e")))

    first, second = open_archive(path).tree

    assert first is second
    assert first.load().tolist() == [2, 4]


def test_an_old_tensor_that_is_never_completed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(checkpoint(pickled(call("torch", "FloatTensor"))))

    with pytest.raises(SourceError, match="not completed"):
        open_archive(path).tree.load()


def test_a_parameter_of_torch_0_3_takes_its_flags_from_its_state(tmp_path: Path) -> None:
    made = name("torch.nn.parameter", "Parameter") + b"(" + tensor() + b"tR"
    path = tmp_path / "old.pt"
    path.write_bytes(checkpoint(pickled(made + b"(\x89\x89}tb")))

    parameter = open_archive(path).tree

    assert (parameter.parameter, parameter.requires_grad) == (True, False)
    assert parameter.load().tolist() == [1, 2, 3, 4]


def test_the_source_path_of_a_pickled_module_is_ignored(tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text("x = 1")
    container = (
        b"(" + text("module") + name("my.nets", "Net") + text(str(secret)) + text("class Net")
    )
    body = container + b"tQ" + b")\x81}" + text("w") + tensor() + b"sb"
    path = tmp_path / "module.pt"
    path.write_bytes(legacy(pickled(body)))

    tree = open_archive(path).tree

    assert (tree.module, tree.name) == ("my.nets", "Net")
    assert tree.state["w"].load().tolist() == [1, 2, 3, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["module.pt", "secret.py"]


BOMBS = {
    "20 million opcodes": b"N0" * 10_000_000,
    "20 million marks": b"(" * 20_000_000,
    "20 million dictionaries": b"}0" * 10_000_000,
    "20 million lists kept": b"](" + b"]" * 20_000_000,
    "20 million sets": b"\x8f0" * 10_000_000,
    "20 million memo entries": b"N" + b"\x94" * 20_000_000,
    "5 million unknown objects": name("a", "B") + b"q\x000" + b"h\x00)\x810" * 5_000_000,
    "million names": b"".join(b"ca\n%d\n0" % i for i in range(1_000_000)),
    "wide text": b"X"
    + (60 << 20).to_bytes(4, "little")
    + b"a" * ((60 << 20) - 4)
    + "\U0001f600".encode(),
    "colliding integers": b"}("
    + b"".join(number(i * ((1 << 61) - 1)) + b"N" for i in range(1, 200_000))
    + b"u",
    "colliding memo": b"N" + b"".join(b"p%d\n" % (i * ((1 << 61) - 1)) for i in range(1, 200_000)),
    "state copied again and again": (
        b"}q\x00("
        + b"".join(number(i) + b"N" for i in range(50_000))
        + b"u0"
        + name("a", "B")
        + b")\x81q\x010"
        + b"h\x01h\x00b0" * 500_000
        + b"h\x01"
    ),
    "items copied again and again": (
        b"}q\x00("
        + b"".join(number(i) + b"N" for i in range(50_000))
        + b"u0"
        + (name("copyreg", "_reconstructor") + b"(" + name("a", "B") + b"Nh\x00tR0") * 100_000
        + b"N"
    ),
    "keywords counted again and again": (
        b"}q\x00("
        + b"".join(text(str(i)) + b"N" for i in range(50_000))
        + b"u0"
        + name("a", "B")
        + b"q\x010"
        + b"h\x01)h\x00\x920" * 500_000
        + b"N"
    ),
    "array copied again and again": (
        b"\x96"
        + (1 << 20).to_bytes(8, "little")
        + bytes(1 << 20)
        + b"q\x000"
        + (
            call(
                "numpy.core.numeric",
                "_frombuffer",
                b"h\x00",
                call("numpy", "dtype", text("u1")),
                sizes(1 << 20),
                text("C"),
            )
            + b"0"
        )
        * 5000
        + b"N"
    ),
    "escaped text": b"V" + b"a" * (60 << 20) + b"\\U0001f600\n",
}


_MEASURE = """
import json, resource, sys
from convcore.formats import open_archive
from convcore.errors import SourceError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

before = peak()
told = {}
for path in sys.argv[1:]:
    try:
        open_archive(path)
        told[path] = "opened"
    except SourceError as error:
        told[path] = error.kind
print(json.dumps({"told": told, "mib": peak() - before}))
"""


def test_bombs_stop_within_their_budget_of_memory(tmp_path: Path) -> None:
    paths = []
    for index, bomb in enumerate(BOMBS.values()):
        paths.append(str(tmp_path / f"{index}.pt"))
        Path(paths[-1]).write_bytes(checkpoint(b"\x80\x02" + bomb + b"."))

    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *paths], capture_output=True, check=True, timeout=300
    )

    found = json.loads(done.stdout)
    assert set(found["told"].values()) == {"source"}
    assert found["mib"] < 300  # 64 MiB of pickle, 192 of objects, and the allocator's rest


def test_a_pickle_above_its_budget_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    path.write_bytes(checkpoint(pickled(b"B" + (65 << 20).to_bytes(4, "little") + bytes(65 << 20))))

    with pytest.raises(SourceError, match="more than"):
        open_archive(path)


def test_files_nested_in_bytes_are_read_to_a_limit(tmp_path: Path) -> None:
    def load(data: bytes) -> bytes:
        return call(
            "torch.storage", "_load_from_bytes", b"B" + len(data).to_bytes(4, "little") + data
        )

    inner = legacy(pickled(storage()))
    path = tmp_path / "nested.pt"
    path.write_bytes(checkpoint(pickled(tensor(of=load(inner)))))
    deep = checkpoint(pickled(load(checkpoint(pickled(load(checkpoint(pickled(load(inner)))))))))

    assert open_archive(path).tree.load().tolist() == [1, 2, 3, 4]
    assert "nested in bytes too deeply" in str(_refusal(tmp_path / "deep.pt", deep))
