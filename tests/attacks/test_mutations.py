from __future__ import annotations

import io
import pickle
import tempfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convcore.errors import ConvcoreError
from convcore.formats import as_mapping, as_plain, as_state_dict, open_archive, walk_tensors
from convcore.formats.joblib import read_joblib
from tests.attacks.assembler import checkpoint, pickled
from tests.formats.conftest import WILD, bits, tensors_of


def _legal() -> dict[str, bytes]:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    value = {"state_dict": module.state_dict(), "n": np.arange(3), "t": torch.zeros(2, 3).t()}
    files = {}
    for modern in (True, False):
        buffer = io.BytesIO()
        torch.save(value, buffer, _use_new_zipfile_serialization=modern)
        files[f"torch {modern}"] = buffer.getvalue()
    buffer = io.BytesIO()
    joblib.dump({"a": np.arange(9.0), "o": np.array([None], dtype=object)}, buffer)
    files["joblib"] = buffer.getvalue()
    files["safetensors"] = next(WILD.glob("*.safetensors")).read_bytes()
    files["tar"] = next(WILD.glob("*.tar")).read_bytes()
    return files


LEGAL = _legal()


def _tried(data: bytes) -> list[Any]:
    """Trees that came out; any exception but the engine's own fails the test."""
    trees = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        path.write_bytes(data)
        for read in (lambda path: open_archive(path, allow_opaque_calls=True).tree, read_joblib):
            try:
                tree = read(path)
                as_plain(tree), as_mapping(tree), as_state_dict(tree)
                for _, tensor in walk_tensors(tree):
                    if tensor.unsupported is None and tensor.nbytes < 1 << 20:
                        assert sum(map(len, tensor.chunks(check=True))) == tensor.nbytes
                trees.append(tree)
            except ConvcoreError:
                continue
    return trees


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _tried(data)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_as_a_pickle_are_read_or_refused(data: bytes) -> None:
    _tried(checkpoint(data))
    _tried(checkpoint(pickled(data)))


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(sorted(LEGAL)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    cut=st.none() | st.floats(0, 1),
)
def test_a_damaged_file_is_read_or_refused(
    kind: str, changes: list[tuple[float, int]], cut: float | None
) -> None:
    data = bytearray(LEGAL[kind])
    for place, value in changes:
        data[int(place * len(data))] = value
    if cut is not None:
        del data[int(cut * len(data)) :]

    _tried(bytes(data))


BARE = b"(.012)NRQobsuaetldi}]\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94"
OPS = st.lists(
    st.sampled_from(
        [bytes([code]) for code in BARE]
        + [
            b"q\x00",
            b"h\x00",
            b"K\x01",
            b"X\x01\x00\x00\x00a",
            b"C\x01a",
            b"I1\n",
            b"L5L\n",
            b"F1.5\n",
        ]
        + [
            b"ccollections\nOrderedDict\n",
            b"cbuiltins\nset\n",
            b"cmy\nNet\n",
            b"c_codecs\nencode\n",
        ]
    ),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(ops=OPS)
@example(ops=[b"}", b"q\x00", b"h\x00", b"h\x00", b"s"])
def test_opcodes_in_any_order_give_what_python_gives_or_a_refusal(ops: list[bytes]) -> None:
    """CPython's own unpickler, confined to classes that only hold data, is the oracle."""
    data = pickled(b"".join(ops))

    class Confined(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) in {
                ("collections", "OrderedDict"),
                ("builtins", "set"),
                ("_codecs", "encode"),
            }:
                return super().find_class(module, name)
            raise pickle.UnpicklingError(name)

    try:
        expected = Confined(io.BytesIO(data)).load()
    except Exception:
        expected = None

    trees = _tried(data)

    # Where both read it they agree; classes and functions by themselves stay names with us.
    if trees and expected is not None and "<" not in repr(expected):
        assert repr(trees[-1]) == repr(expected)


@settings(max_examples=60, deadline=None)
@given(
    place=st.floats(0, 1, exclude_max=True),
    value=st.integers(0, 255),
    modern=st.booleans(),
)
def test_a_damaged_file_never_gives_other_numbers_than_torch(
    place: float, value: int, modern: bool
) -> None:
    data = bytearray(LEGAL[f"torch {modern}"])
    data[int(place * len(data))] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        path.write_bytes(data)
        try:
            found = dict(walk_tensors(open_archive(path).tree))
            loaded = torch.load(path, weights_only=False)  # our own file, with one byte changed
        except Exception:
            return

        for name, tensor in tensors_of(loaded):
            if name in found:
                assert bits(found[name].load()) == bits(tensor)


@pytest.mark.parametrize("kind", sorted(LEGAL))
def test_the_legal_files_are_legal(kind: str) -> None:
    assert _tried(LEGAL[kind])
