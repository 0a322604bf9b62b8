"""Metadata that names a tensor: a note of its writer, or a name that was tied to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import convcore

W = torch.arange(4.0)
NOTES = {
    "a note": ({"best_layer": "a.weight"}, []),
    "a note with a dot": ({"best.layer": "a.weight"}, []),
    "names that end alike, one without a dot": ({"weight": "a.weight"}, []),
    "tied parameters": ({"head.weight": "a.weight"}, ["head.weight"]),
    "a note about nothing": ({"head.weight": "gone.weight"}, []),
}


@pytest.mark.parametrize(("metadata", "names"), NOTES.values(), ids=NOTES)
def test_metadata_is_a_tensor_s_name_only_where_parameters_were_tied(
    metadata: dict[str, str], names: list[str], tmp_path: Path
) -> None:
    save_file({"a.weight": W}, tmp_path / "m.safetensors", metadata=metadata)

    checkpoint = convcore.open_checkpoint(tmp_path / "m.safetensors")

    assert list(checkpoint.tensors) == ["a.weight", *names]
    notes = [line for line in checkpoint.evidence if line.startswith("metadata that names")]
    pointing = not names and "gone.weight" not in metadata.values()
    assert len(notes) == pointing
    assert all(next(iter(metadata)) in line for line in notes)


@pytest.mark.parametrize("names", [("a", "b"), ("emb.weight", "head.w"), ("emb.w", "head.w")])
def test_tied_names_written_as_safetensors_are_read_again_whatever_they_are(
    names: tuple[str, str], tmp_path: Path
) -> None:
    torch.save(dict.fromkeys(names, W), tmp_path / "m.pt")
    convcore.convert(tmp_path / "m.pt", tmp_path / "out", "safetensors", layout="plain")

    again = convcore.open_checkpoint(tmp_path / "out/model.safetensors")

    assert list(load_file(tmp_path / "out/model.safetensors")) == [names[0]]
    assert list(again.tensors) == list(names)
    assert all(torch.equal(tensor.load(), W) for tensor in again.tensors.values())
