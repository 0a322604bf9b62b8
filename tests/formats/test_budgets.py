from __future__ import annotations

import io
import pickle
import zlib
from pathlib import Path
from typing import Any

import attrs
import joblib
import pytest
import torch

from convcore.errors import SourceError
from convcore.formats import open_archive, walk_tensors
from convcore.formats.budgets import DEFAULT_BUDGETS
from convcore.formats.joblib import read_joblib
from tests.attacks.assembler import checkpoint, legacy, number, pickled, safetensors, storage
from tests.attacks.assembler import tensor as tensor_opcodes


def _nested(depth: int) -> list[Any]:
    value: list[Any] = [torch.zeros(1)]
    for _ in range(depth):
        value = [value]
    return value


def _saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _load(data: bytes) -> bytes:
    bytes_of = b"B" + len(data).to_bytes(4, "little") + data
    return b"ctorch.storage\n_load_from_bytes\n(" + bytes_of + b"tR"


def _compressed() -> bytes:
    return zlib.compress(pickle.dumps(bytes(2000)))


# For each limit: a file that needs more than the small value and less than the default.
CASES: dict[str, tuple[int, bytes, str]] = {
    "pickle_bytes": (100, checkpoint(pickled(b"N0" * 100 + b"N")), "more than 100"),
    "opcodes": (2000, checkpoint(pickled(b"N0" * 5000 + b"N")), "more than 2000 pickle opcodes"),
    "stack": (500, checkpoint(pickled(b"](" + b"N" * 5000 + b"e")), "piles up"),
    "marks": (500, checkpoint(pickled(b"(" * 5000 + b"1" * 5000 + b"N")), "piles up"),
    "memo": (500, checkpoint(pickled(b"N" + b"\x94" * 5000)), "more than 500 memo entries"),
    "text_bytes": (900, checkpoint(pickled(b"X\xe8\3\0\0" + b"a" * 1000)), "one text of 1000"),
    "names": (3, checkpoint(pickled(b"](ca\nb\nca\nc\nca\nd\nca\ne\ne")), "more than 3 different"),
    "object_bytes": (
        1 << 20,
        checkpoint(pickled(b"](" + b"}" * 50_000 + b"e")),
        "more than 1 MiB of objects",
    ),
    "integer_bytes": (8, checkpoint(pickled(number(1 << 100))), "integer of 13 bytes"),
    "integer_digits": (9, checkpoint(pickled(b"L12345678901L\n")), "at most 9 digits"),
    "odd_keys": (
        9,
        checkpoint(pickled(b"}(" + b"".join(number(i << 70) + b"N" for i in range(1, 30)) + b"u")),
        "more than 9 tuples or huge integers",
    ),
    "key_work": (
        9,
        checkpoint(pickled(b"}(" + b"".join(number(i << 70) + b"N" for i in range(1, 30)) + b"u")),
        "chosen to collide",
    ),
    "nested_pickles": (
        0,
        checkpoint(pickled(tensor_opcodes(of=_load(legacy(pickled(storage())))))),
        "nested in bytes",
    ),
    "zip_entries": (2, _saved({"a": torch.zeros(1)}), "entries"),
    "name_bytes": (5, _saved({}), "record name of"),
    "small_record": (1, _saved({}), "more than 1"),
    "dimensions": (2, _saved(torch.zeros(1, 1, 1)), "3 axes"),
    "json_bytes": (20, safetensors("{}" + " " * 90), "said to have 92 bytes"),
    "depth": (20, _saved(_nested(30)), "nested too deeply"),
    "nodes": (20, _saved(_nested(30)), "too large when expanded"),
    "dotted_name": (20, _saved({"a" * 30: {"b": torch.zeros(1)}}), "name has 30 characters"),
    "inflated_bytes": (1000, _compressed(), "inflates to more"),
    "inflate_ratio": (0, _saved(torch.zeros(99)), "claims to inflate"),
}  # fmt: skip


def _open(path: Path, **limits: int) -> None:
    budgets = attrs.evolve(DEFAULT_BUDGETS, **limits)
    if path.read_bytes()[:1] == b"\x78":
        read_joblib(path, budgets=budgets)
    else:
        list(walk_tensors(open_archive(path, budgets=budgets).tree, budgets=budgets))


@pytest.mark.parametrize("limit", CASES)
def test_each_limit_refuses_what_exceeds_it_and_can_be_raised(limit: str, tmp_path: Path) -> None:
    least, data, words = CASES[limit]
    path = tmp_path / "file"
    path.write_bytes(data)
    _open(path)  # the default admits it

    with pytest.raises(SourceError, match=words):
        _open(path, **{limit: least})


def test_every_limit_of_the_table_has_its_test() -> None:
    assert set(attrs.fields_dict(type(DEFAULT_BUDGETS))) - set(CASES) == {"shards"}


def test_more_shards_than_any_checkpoint_are_refused(tmp_path: Path) -> None:
    import json

    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {f"w{i}": f"{i}.safetensors" for i in range(2000)}}))

    with pytest.raises(SourceError, match="2000 shards"):
        open_archive(index)


def test_a_real_file_of_many_tensors_is_far_from_every_limit(tmp_path: Path) -> None:
    path = tmp_path / "many.pt"
    torch.save({f"layer.{i}.weight": torch.zeros(1) for i in range(1000)}, path)
    share = {
        limit: int(value * 0.02)
        for limit, value in attrs.asdict(DEFAULT_BUDGETS).items()
        if limit in ("opcodes", "object_bytes", "pickle_bytes", "zip_entries", "memo", "stack")
    }

    _open(path, **share)  # fifty times as many still fit


def test_a_stream_of_joblib_is_under_the_same_limits(tmp_path: Path) -> None:
    path = tmp_path / "many.pkl"
    joblib.dump([[] for _ in range(5000)], path)

    with pytest.raises(SourceError, match="more than 2000 pickle opcodes"):
        read_joblib(path, budgets=attrs.evolve(DEFAULT_BUDGETS, opcodes=2000))
