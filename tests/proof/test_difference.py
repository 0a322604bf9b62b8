"""What ``diff`` says of two tensors, against torch's own arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convcore.archive import open_archive
from convcore.proof.difference import compare

COUNT = 700_001  # more than two pieces of a megabyte, and no multiple of one
KINDS = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int16": torch.int16,
    "complex64": torch.complex64,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_figures_of_a_large_tensor_are_those_of_the_whole(
    kind: torch.dtype, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    one = (torch.randn(COUNT, generator=generator) * 100).to(kind)
    two = one.clone()
    places = [0, 262_143, 262_144, 524_288, COUNT - 1]
    two[places] += 1
    wide = torch.complex128 if kind.is_complex else torch.float64
    distance = (one.to(wide) - two.to(wide)).abs()
    torch.save({"w": one}, tmp_path / "one.pt")
    torch.save({"w": two}, tmp_path / "two.pt")

    found = compare(*(open_archive(tmp_path / f"{name}.pt").tree["w"] for name in ("one", "two")))

    assert found == {
        "max_abs": pytest.approx(distance.max().item()),
        "elements_changed": int((one != two).sum()),
        "elements": COUNT,
    }
