"""A conversion that would lose a tensor cannot be written down."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import TargetError, VerificationError
from convcore.host.registry import load_registry


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    torch.save({"a.w": torch.ones(2), "a.b": torch.ones(1)}, tmp_path / "m.pt")
    return Request(tmp_path / "m.pt", tmp_path / "out", layout="plain")


def sabotaged(change):
    """The registry, its ``pth`` target writing through ``change``."""
    registry = load_registry()
    pth = registry.targets["pth"]
    spoiled = attrs.evolve(pth, write=lambda outputs, desk: change(pth.write(outputs, desk)))
    return attrs.evolve(registry, targets={**registry.targets, "pth": spoiled})


LIES = {
    "a tensor forgotten": lambda entries: list(entries)[1:],
    "a tensor told twice": lambda entries: (lambda told: [*told, told[0]])(list(entries)),
    "a tensor invented": lambda entries: [
        *(told := list(entries)),
        attrs.evolve(told[0], tensor="c.w"),
    ],
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_an_unsound_ledger_stops_the_run(lie, request_: Request) -> None:
    with pytest.raises(TargetError, match="does not add up"):
        convert(request_, sabotaged(lie))

    assert not request_.output.exists()


def test_bytes_that_differ_stop_the_run(request_: Request) -> None:
    def spoil(entries):
        told = list(entries)
        (path,) = request_.output.parent.glob(".out.convcore-*/model.pth")
        content = path.read_bytes()
        path.write_bytes(content.replace(torch.ones(2).numpy().tobytes(), b"\0" * 8, 1))
        return told

    said = "model.pth is not what was to be written: a.w has other bytes than its source"
    with pytest.raises(VerificationError, match=f"^{re.escape(said)}$"):
        convert(request_, sabotaged(spoil))

    assert not request_.output.exists()
