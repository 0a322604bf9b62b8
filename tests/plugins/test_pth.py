"""What ``--to state-dict`` takes: everything, or what was chosen, as ``--to pth`` does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.host.registry import load_registry

CHOICES = {
    "everything": ({}, ("generator_AB", "generator_BA", "discriminator_A", "discriminator_B")),
    "--component": ({"components": ("generator_AB",)}, ("generator_AB",)),
    "--no-discriminators": ({"no_discriminators": True}, ("generator_AB", "generator_BA")),
}


@pytest.mark.parametrize(("options", "parts"), CHOICES.values(), ids=CHOICES.keys())
def test_the_one_file_holds_the_components_that_were_chosen(
    options: dict[str, object], parts: tuple[str, ...], example: Path, tmp_path: Path
) -> None:
    state = torch.load(example, weights_only=False)["state_dict"]
    expected = {name for name in state if name.partition(".")[0] in parts}

    report = convert(
        Request(example, tmp_path / "out", ("state-dict",), **options), load_registry()
    )

    (path,) = (tmp_path / "out").glob("*.pth")
    written = torch.load(path, weights_only=True)
    assert written.keys() == expected
    assert all(torch.equal(written[name], state[name]) for name in expected)
    rows = [row for row in report.manifest.ledger if row.tensor in state]
    assert {row.tensor for row in rows if row.state != "dropped"} == expected
    assert len(rows) == len(state)
