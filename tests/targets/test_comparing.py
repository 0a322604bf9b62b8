"""What was written is compared with its source, however the source's elements lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convcore.engine.difference import compare
from convcore.errors import VerificationError
from convcore.formats import open_archive
from convcore.targets.weights import prove
from convcore.targets.weights.files import PIECE
from convcore.targets.weights.torch_zip import write
from tests.formats.test_formats import packed

SIDE = int((PIECE / 4) ** 0.5) + 77
LARGE = {
    "dense": torch.randn(SIDE, SIDE),
    "transposed": torch.randn(SIDE, SIDE + 5).t(),
    "columns": torch.randn(SIDE, 2 * SIDE)[:, 3:-3],
    "channels-last": torch.randn(64, 48, 9, 7).to(memory_format=torch.channels_last),
    "expanded": torch.randn(SIDE, 1).expand(SIDE, SIDE),
    "long-rows": torch.randn(3, PIECE)[:, ::2],
    "bytes": torch.arange(256, dtype=torch.uint8).repeat(PIECE // 100)[: 2 * PIECE + 1],
}


@pytest.mark.parametrize("tensor", LARGE.values(), ids=LARGE.keys())
def test_a_tensor_of_many_pieces_is_proved(tensor: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"t": tensor}, tmp_path / "source.pt")
    source = open_archive(tmp_path / "source.pt").tree
    write(tmp_path / "copy.pt", source)

    assert prove(tmp_path / "copy.pt", source).passed
    assert torch.equal(torch.load(tmp_path / "copy.pt", weights_only=True)["t"], tensor)
    assert compare(source["t"], open_archive(tmp_path / "copy.pt").tree["t"]) is None


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("tensor", LARGE.values(), ids=LARGE.keys())
def test_one_other_element_is_found(place: int, tensor: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"t": tensor}, tmp_path / "source.pt")
    other = tensor.clone(memory_format=torch.contiguous_format)
    other.view(-1)[place] += 1
    torch.save({"t": other}, tmp_path / "copy.pt")
    source = open_archive(tmp_path / "source.pt").tree

    with pytest.raises(VerificationError, match="other bytes"):
        prove(tmp_path / "copy.pt", source)
    found = compare(source["t"], open_archive(tmp_path / "copy.pt").tree["t"])
    assert found is not None
    assert (found["elements_changed"], found["elements"]) == (1, tensor.numel())


def test_deflated_tensors_that_differ_are_compared_element_by_element(tmp_path: Path) -> None:
    one = torch.cat([torch.zeros(300_001), torch.randint(0, 99, (200_000,)).float()])
    two = one.clone()
    two[::100_003] += 1
    lazy = []
    for name, tensor in {"one": one, "two": two}.items():
        torch.save({"t": tensor}, tmp_path / f"{name}.pt")
        path = packed(tmp_path / f"{name}.pt", tmp_path / f"{name}-packed.pt")
        lazy.append(open_archive(path).tree["t"])

    found = compare(*lazy)

    assert found is not None
    assert (found["elements_changed"], found["max_abs"]) == (5, 1.0)
