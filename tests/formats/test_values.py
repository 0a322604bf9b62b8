from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import functools
import json
import math
import pathlib
import pickle
import tempfile
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convcore.formats import Opaque, as_mapping, as_plain, open_archive
from convcore.formats.joblib import read_joblib
from tests.formats.conftest import Save

_NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers()
_LEAVES = _NUMBERS | st.text() | st.binary() | st.binary().map(bytearray)
_KEYS = (
    st.text() | st.integers() | st.booleans() | st.tuples(st.text(), st.integers()) | st.binary()
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(_KEYS, inner)
        | st.dictionaries(st.text(), inner).map(collections.OrderedDict)
        | st.sets(_KEYS)
        | st.frozensets(_KEYS)
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(value=_TREES, protocol=st.integers(0, 5))
def test_whatever_python_pickles_as_plain_data_comes_back(value: Any, protocol: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "value.pt"
        torch.save(value, path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)

        found = open_archive(path).tree

    # repr, because nan is not equal to itself and 1 == True == 1.0
    assert _shown(found) == _shown(value)


def _shown(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, sorted(map(repr, value))
    if isinstance(value, dict):
        return type(value).__name__, [(repr(key), _shown(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [_shown(item) for item in value]
    return repr(value)


@pytest.mark.parametrize("protocol", range(6))
def test_shared_and_recursive_values_keep_their_identity(tmp_path: Path, protocol: int) -> None:
    shared: list[Any] = [1]
    value: dict[str, Any] = {"a": shared, "b": shared}
    value["self"] = value
    path = tmp_path / "value.pt"
    torch.save(value, path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)

    found = open_archive(path).tree

    assert found["a"] is found["b"]
    assert found["self"] is found


def test_python_2_texts_are_text_where_they_are_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "old.pkl"
    path.write_bytes(b"\x80\x02}(U\x04text\x54\x03\x00\x00\x00a\xc3\xa4U\x03rawS'\\xff\\n'\nu.")

    assert read_joblib(path) == {"text": "aä", "raw": b"\xff\n"}


class Colour(enum.Enum):
    RED = "red"


class Net(torch.nn.Module):
    pass


HYPER = {
    "namespace": (argparse.Namespace(lr=0.1, name="x"), {"lr": 0.1, "name": "x"}),
    "simple namespace": (types.SimpleNamespace(a=1), {"a": 1}),
    "path": (pathlib.PurePosixPath("/data/set one"), "/data/set one"),
    "windows path": (pathlib.PureWindowsPath("C:\\data\\x"), "C:\\data\\x"),
    "relative path": (pathlib.PurePosixPath("a/b"), "a/b"),
    "ordered": (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "defaultdict": (collections.defaultdict(list, a=[1]), {"a": [1]}),
    "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "deque": (collections.deque([1, 2], maxlen=2), [1, 2]),
    "dtype": (torch.bfloat16, "torch.bfloat16"),
    "device": (torch.device("cuda", 1), "cuda:1"),
    "size": (torch.Size([2, 3]), [2, 3]),
    "layout": (torch.strided, "torch.strided"),
    "class": (torch.nn.ReLU, {"$global": "torch.nn.modules.activation.ReLU"}),
    "numpy scalar": (np.float32(0.5), 0.5),
    "numpy integer": (np.int64(-7), -7),
    "numpy flag": (np.bool_(True), True),
    "numpy text": (np.str_("ab"), "ab"),
    "numpy array": (np.arange(6, dtype=">i2").reshape(2, 3, order="F"), [[0, 2, 4], [1, 3, 5]]),
    "large array": (np.zeros((9, 9)), {"$tensor": {"dtype": "float64", "shape": [9, 9]}}),
    "date": (datetime.date(2024, 2, 29), {"$type": "datetime.date", "value": "2024-02-29"}),
    "time": (
        datetime.datetime(2024, 2, 29, 1, 2, 3, 45),
        {"$type": "datetime.datetime", "value": "2024-02-29T01:02:03.000045"},
    ),
    "decimal": (decimal.Decimal("1.50"), {"$type": "decimal.Decimal", "value": "1.50"}),
    "uuid": (
        uuid.UUID("12345678123456781234567812345678"),
        {"$type": "uuid.UUID", "value": "12345678-1234-5678-1234-567812345678"},
    ),
    "enum": (Colour.RED, {"$type": "tests.formats.test_values.Colour", "value": "red"}),
    "partial": (
        functools.partial(math.isclose, 1.0, rel_tol=0.5),
        {
            "$type": "functools.partial",
            "func": {"$global": "math.isclose"},
            "args": [1.0],
            "keywords": {"rel_tol": 0.5},
        },
    ),
    "complex": (1 - 2j, {"$complex": [1.0, -2.0]}),
    "slice": (slice(1, None, 2), {"$slice": [1, None, 2]}),
    "range": (range(1, 9, 2), {"$range": [1, 9, 2]}),
    "set": ({"b", "a"}, {"$set": ["a", "b"]}),
    "ellipsis": (..., "..."),
    "nan": (math.nan, {"$float": "nan"}),
    "infinity": (-math.inf, {"$float": "-inf"}),
    "huge": (1 << 80, {"$int": "0x100000000000000000000"}),
    "bytes": (b"\x00\xff", {"$bytes": 2, "hex": "00ff"}),
    "tensor": (torch.zeros(2, 3), {"$tensor": {"dtype": "float32", "shape": [2, 3]}}),
    "mixed keys": ({1: "a", "1": "b"}, {"$items": [[1, "a"], ["1", "b"]]}),
    "lone surrogate": ("a\udcff", "a\\udcff"),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(("value", "plain"), HYPER.values(), ids=HYPER.keys())
def test_hyper_parameters_of_every_kind_become_json(
    save: Save, value: Any, plain: Any, legacy: bool
) -> None:
    found = as_plain(open_archive(save(value, legacy=legacy)).tree)

    assert found == plain
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "kind", ["namespace", "path", "numpy scalar", "numpy array", "dtype", "set"]
)
def test_the_protocol_changes_nothing(tmp_path: Path, kind: str, protocol: int) -> None:
    value, plain = HYPER[kind]
    path = tmp_path / "value.pt"
    torch.save([value], path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)

    assert as_plain(open_archive(path).tree) == [plain]


def test_a_value_that_contains_itself_is_shown_as_a_reference(save: Save) -> None:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append(value)
    value["b"] = value["a"]

    found = as_plain(open_archive(save(value)).tree)

    assert found == {
        "a": [1, {"$ref": "$"}],
        "b": [1, {"$ref": "$"}],
    }


def test_deep_nesting_is_cut_and_said(save: Save, tmp_path: Path) -> None:
    path = tmp_path / "deep.pkl"
    path.write_bytes(b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".")

    found = json.dumps(as_plain(read_joblib(path)))

    assert found.count("[") == 101
    assert "nested too deeply" in found


def test_a_tree_that_doubles_at_every_level_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "laughs.pkl"
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    path.write_bytes(pickle.dumps(value))

    found = as_plain(read_joblib(path))

    assert "too large" in json.dumps(found)


class Loss:
    def __init__(self) -> None:
        self.weight = torch.ones(2)
        self.kind = "focal"


def test_an_object_of_an_unknown_class_keeps_its_state(save: Save) -> None:
    archive = open_archive(save({"loss": Loss(), "again": Loss()}))

    loss = archive.tree["loss"]
    assert isinstance(loss, Opaque)
    assert loss.state["weight"].load().tolist() == [1.0, 1.0]
    assert archive.opaque == {"tests.formats.test_values.Loss": 2}
    assert as_plain(loss) == {
        "$type": "tests.formats.test_values.Loss",
        "state": {"weight": {"$tensor": {"dtype": "float32", "shape": [2]}}, "kind": "focal"},
    }


def test_a_class_as_dictionary_key_is_one_key(tmp_path: Path) -> None:
    # Lightning 1.0 to 1.4 keyed the callbacks' states by class.
    value = {Loss: {"best": 0.5}, Net: {}}
    path = tmp_path / "callbacks.pkl"
    path.write_bytes(pickle.dumps(value, protocol=2))

    found = read_joblib(path)

    assert [key.qualified_name for key in found] == [
        "tests.formats.test_values.Loss",
        "tests.formats.test_values.Net",
    ]
    assert as_plain(found) == {
        "tests.formats.test_values.Loss": {"best": 0.5},
        "tests.formats.test_values.Net": {},
    }


def _attribute_dict() -> Any:
    from lightning.pytorch.utilities.parsing import AttributeDict

    return AttributeDict(lr=0.1, model=argparse.Namespace(width=4))


def test_lightnings_attribute_dictionary_is_a_mapping(save: Save) -> None:
    tree = open_archive(save(_attribute_dict())).tree

    found = as_mapping(tree)

    assert found is not None
    assert found["lr"] == 0.1
    assert as_plain(tree) == {"lr": 0.1, "model": {"width": 4}}


def _node(name: str, **state: Any) -> Opaque:
    module = "dictconfig" if name == "DictConfig" else "listconfig" if "List" in name else "nodes"
    content = {"state": {"_metadata": Opaque("omegaconf.base", "Metadata"), **state}}
    return Opaque(f"omegaconf.{module}", name, "newobj", content=content)


def test_an_omegaconf_tree_is_unwrapped_and_its_interpolations_stay_text() -> None:
    # As omegaconf 2.3 pickles it: containers hold _content, leaves hold _val.
    leaf = _node("AnyNode", _val=0.1)
    inner = _node(
        "ListConfig", _content=[_node("IntegerNode", _val=1), _node("AnyNode", _val="${lr}")]
    )
    config = _node(
        "DictConfig", _content={"lr": leaf, "steps": inner, "gone": _node("AnyNode", _val="???")}
    )

    assert as_mapping(config) == {"lr": 0.1, "steps": [1, "${lr}"], "gone": "???"}
    assert as_plain(config) == {"lr": 0.1, "steps": [1, "${lr}"], "gone": "???"}


@pytest.mark.parametrize("value", [3, "x", [1], None, Opaque("argparse", "Namespace")])
def test_what_is_no_mapping_is_none(value: Any) -> None:
    assert as_mapping(value) is None


def test_values_of_real_checkpoints_become_json() -> None:
    from tests.formats.conftest import WILD

    for path in WILD.iterdir():
        json.dumps(as_plain(open_archive(path).tree), allow_nan=False)
