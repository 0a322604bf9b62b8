"""One storage under two types would give other numbers than torch gives: it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convcore.errors import SourceError
from convcore.formats import open_archive
from tests.attacks.assembler import (
    PERSID,
    checkpoint,
    legacy,
    mapping,
    name,
    number,
    pickled,
    storage,
    tensor,
    text,
    tuple_of,
)

DOUBLE = name("torch", "DoubleStorage")


def _legacy_storage(kind: bytes, count: int) -> bytes:
    described = (text("storage"), kind, text("0"), text("cpu"), number(count), b"N")
    return tuple_of(*described) + PERSID


FILES = {
    "zip": checkpoint(pickled(mapping(w=tensor(), v=tensor(storage("0", 2, DOUBLE), shape=(2,))))),
    "legacy": legacy(
        pickled(
            mapping(
                w=tensor(_legacy_storage(name("torch", "FloatStorage"), 4)),
                v=tensor(_legacy_storage(DOUBLE, 2), shape=(2,)),
            )
        )
    ),
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())
def test_a_storage_of_two_types_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "two.pt"
    path.write_bytes(data)

    with pytest.raises(SourceError, match="named with two types, float32 and float64"):
        open_archive(path)


def test_types_that_share_bytes_as_torch_saves_them_are_read(tmp_path: Path) -> None:
    wide = torch.arange(8, dtype=torch.uint8)
    torch.save({"bytes": wide, "pairs": wide.view(torch.uint16)}, tmp_path / "x.pt")

    tree = open_archive(tmp_path / "x.pt").tree

    expected = torch.load(tmp_path / "x.pt", weights_only=True)
    assert torch.equal(tree["bytes"].load(), expected["bytes"])
    assert torch.equal(tree["pairs"].load(), expected["pairs"])
