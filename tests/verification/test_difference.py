"""What ``diff`` says of two tensors, against torch's own arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import convcore
from convcore.engine.difference import compare
from convcore.formats import open_archive

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


@pytest.mark.parametrize(
    "wrapper", ["module.", "_orig_mod.", "module.model.", "model."], ids=lambda text: text
)
@pytest.mark.parametrize("target", ["pth", "state-dict"])
def test_wrappers_that_a_conversion_took_off_are_no_difference(
    wrapper: str, target: str, tmp_path: Path
) -> None:
    state = {f"{wrapper}{name}": torch.ones(2) * n for n, name in enumerate(("a.weight", "b.bias"))}
    torch.save(state, tmp_path / "wrapped.pt")
    torch.save({"a.weight": torch.zeros(2), "b.bias": torch.ones(2)}, tmp_path / "bare.pt")
    convcore.convert(tmp_path / "wrapped.pt", tmp_path / "out", target, layout="plain")

    for other in ("out", "bare.pt"):
        found = convcore.diff(tmp_path / "wrapped.pt", tmp_path / other)

        assert found["identical"]
        assert found["same"] == ["a.weight", "b.bias"]
        told = [f"{wrapper!r} before 2 names"]
        assert found["wrappers"] == {"first": told, "second": told if other == "out" else []}
