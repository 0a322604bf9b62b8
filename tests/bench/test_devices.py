from __future__ import annotations

import pytest

from convcore.bench.devices import NO_CUDA, check_device, choose_devices
from convcore.errors import UsageError


@pytest.mark.parametrize(
    ("asked", "cuda", "devices"),
    [
        (["auto"], 0, ("cpu",)),
        (["auto"], 2, ("cpu", "cuda:0", "cuda:1")),
        (["cuda"], 2, ("cuda:0", "cuda:1")),
        (["cuda:1", "cpu", "cpu"], 2, ("cuda:1", "cpu")),
        (["cpu", "auto"], 1, ("cpu", "cuda:0")),
    ],
    ids=["auto without CUDA", "auto", "all of CUDA", "by name, once each", "both"],
)
def test_devices_are_chosen_in_order_and_once_each(
    asked: list[str], cuda: int, devices: tuple[str, ...]
) -> None:
    assert choose_devices(asked, cuda)[0] == devices


def test_an_absent_cuda_is_said_once_when_nobody_asked_for_it() -> None:
    assert choose_devices(["auto", "auto"], 0)[1] == (NO_CUDA,)
    assert choose_devices(["cpu"], 0)[1] == ()


@pytest.mark.parametrize(("name", "cuda"), [("cuda", 0), ("cuda:0", 0), ("cuda:3", 2)])
def test_a_device_asked_for_by_name_must_be_there(name: str, cuda: int) -> None:
    with pytest.raises(UsageError, match=f"device {name} is not here") as caught:
        choose_devices([name], cuda, why_not="none; torch is built without CUDA")

    assert caught.value.exit_code == 2
    assert "CUDA" in caught.value.seen[0]


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cpu:0", ""])
def test_other_names_are_no_devices(name: str) -> None:
    with pytest.raises(ValueError, match="is no device"):
        check_device(name)
