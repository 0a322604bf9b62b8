from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from convcore.errors import SourceError
from convcore.formats import Opaque, as_state_dict, open_archive, walk_tensors
from convcore.formats.joblib import read_joblib
from convcore.tensors import LazyTensor, Storage, TensorSpec
from tests.formats.conftest import Save, bits


class Network(torch.nn.Module):
    """Shared layers, missing parameters, and buffers of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False), torch.nn.BatchNorm1d(2))
        self.tail = self.body[0]
        self.register_buffer("steps", torch.tensor(5))
        self.register_buffer("cache", torch.ones(4), persistent=False)
        self.register_buffer("nothing", None)
        self.scale = torch.nn.Parameter(torch.ones(1), requires_grad=False)
        self.gone = None


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_whole_pickled_module_has_the_state_dict_it_would_save(save: Save, legacy: bool) -> None:
    network = Network()
    tree = open_archive(save(network, legacy=legacy)).tree

    found = as_state_dict(tree)

    assert found is not None
    expected = network.state_dict()
    assert list(found) == list(expected)
    assert all(bits(found[name].load()) == bits(tensor) for name, tensor in expected.items())
    assert [name for name, tensor in found.items() if tensor.parameter] == [
        name for name, _ in network.named_parameters(remove_duplicate=False)
    ]
    assert found["scale"].requires_grad is False
    assert found["tail.weight"].requires_grad is True


@pytest.mark.parametrize("value", [{}, None, Opaque("a", "B"), {"_parameters": {}, "_modules": {}}])
def test_anything_else_has_none(value: Any) -> None:
    assert as_state_dict(value) is None


def _module(**state: Any) -> Opaque:
    parts: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}, **state}
    return Opaque("a", "Net", "newobj", content={"state": parts})


def test_a_module_that_contains_itself_is_refused() -> None:
    module = _module()
    module.state["_modules"]["self"] = module

    with pytest.raises(SourceError, match="contains itself") as caught:
        as_state_dict(module)

    assert "state_dict()" in caught.value.remedy


@pytest.mark.parametrize(
    "state",
    [
        {"_parameters": {"w": 3}},
        {"_parameters": {3: None}},
        {"_buffers": []},
        {"_modules": {"inner": Opaque("a", "B", "newobj")}},
    ],
    ids=["no-tensor", "no-name", "no-buffers", "no-module"],
)
def test_a_module_with_impossible_parts_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="pickled module"):
        as_state_dict(_module(**state))


def _lazy(storage: Storage) -> LazyTensor:
    return LazyTensor(TensorSpec("float32", (1,)), storage, 0, (1,))


def test_walking_names_shared_parts_once_for_each_name(save: Save) -> None:
    shared = {"w": torch.ones(1)}
    tree = open_archive(save({"a": shared, "b": [shared, (shared,)], "w": shared["w"]})).tree

    assert [name for name, _ in walk_tensors(tree)] == ["a.w", "b.0.w", "b.1.0.w", "w"]


def test_names_that_would_be_spelt_alike_are_told_apart(save: Save) -> None:
    tree = open_archive(
        save(
            {"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1), 1: torch.ones(2), "1": torch.ones(3)}
        )
    ).tree

    found = {name: tensor.load().tolist() for name, tensor in walk_tensors(tree)}

    assert found == {"a.b": [0.0], "a.b#2": [1.0], "1": [1.0, 1.0], "1#2": [1.0, 1.0, 1.0]}


def test_walking_a_cycle_ends(save: Save) -> None:
    value: dict[str, Any] = {"w": torch.ones(1)}
    value["self"] = [value]

    tree = open_archive(save(value)).tree

    assert [name for name, _ in walk_tensors(tree)] == ["w"]


def test_walking_a_tree_that_doubles_at_every_level_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "laughs.pkl"
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    path.write_bytes(pickle.dumps(value))

    with pytest.raises(SourceError, match="too large when expanded"):
        list(walk_tensors(read_joblib(path)))


def test_walking_deep_nesting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.pkl"
    path.write_bytes(b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".")

    with pytest.raises(SourceError, match="nested too deeply"):
        list(walk_tensors(read_joblib(path)))


def test_names_that_grow_at_every_level_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.pkl"
    key = b"X" + (5000).to_bytes(4, "little") + b"k" * 5000 + b"q\x00"
    path.write_bytes(b"\x80\x02" + key + b"0" + b"}h\x00" * 500 + b"}" + b"s" * 500 + b".")

    with pytest.raises(SourceError, match="tensor name"):
        list(walk_tensors(read_joblib(path)))
