"""``inspect`` and the group of commands: options that were asked for have an effect, or say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convcore.formats import open_archive
from tests.conftest import Ran

Run = Callable[..., Ran]


def test_an_option_nobody_reads_is_refused(convcore: Run, example: Path) -> None:
    ran = convcore("inspect", example, "--config", "colour=red")

    assert ran.code == 2
    assert "--config colour means nothing to the layout cyclegan" in ran.err


def test_a_plugin_nobody_brings_is_told(convcore: Run, example: Path) -> None:
    ran = convcore("-p", "no:convcore_cyclegna", "inspect", example)

    assert ran.code == 0
    assert "no:convcore_cyclegna switches nothing off" in ran.err


def test_the_bare_command_shows_its_help(convcore: Run) -> None:
    ran = convcore()

    assert ran.code == 2
    assert ran.err.startswith("Usage: convcore")
    assert "\\n" not in ran.err


def test_a_draft_is_json_where_json_is_asked_for(convcore: Run, tmp_path: Path) -> None:
    torch.save({"enc.weight": torch.ones(2)}, tmp_path / "a.pt")

    ran = convcore("inspect", tmp_path / "a.pt", "--suggest-layout", "--json")

    assert ran.json["layout_file"] == convcore("inspect", tmp_path / "a.pt", "--suggest-layout").out


def test_a_source_that_declines_is_not_said_of_the_file(convcore: Run, tmp_path: Path) -> None:
    torch.save({"enc.weight": torch.ones(2)}, tmp_path / "a.pt")

    ran = convcore("inspect", tmp_path / "a.pt", "--source", "lightning")

    assert ran.code == 3
    assert "a.pt is nothing that the source lightning reads" in ran.err


def test_deep_reads_what_lies_beside_the_model_too(
    convcore: Run, example: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.ckpt"
    data = bytearray(example.read_bytes())
    states = open_archive(example).tree["optimizer_states"]
    moment = next(
        value
        for entry in states[0]["state"].values()
        for value in entry.values()
        if getattr(value, "nbytes", 0) > 100
    )
    data[moment.storage.extents[0].position + 40] ^= 1
    damaged.write_bytes(data)

    assert convcore("inspect", damaged).code == 0
    ran = convcore("inspect", damaged, "--deep")

    assert ran.code == 3
    assert "CRC-32" in ran.err


@pytest.mark.parametrize("name", ["float4_e2m1fn_x2", "bits8", "bits16"])
def test_a_type_that_is_not_copied_is_named(name: str, convcore: Run, tmp_path: Path) -> None:
    odd = torch.zeros(4, dtype=torch.uint8).view(getattr(torch, name))
    torch.save({"odd": odd, "weight": torch.ones(2)}, tmp_path / "a.pt")
    seen = convcore("inspect", tmp_path / "a.pt", "--tensors", "--json").json

    ran = convcore("convert", tmp_path / "a.pt", "-o", tmp_path / "out", "--layout", "plain")

    assert seen["tensors"][0]["bytes"] == 4
    assert seen["tensors"][0]["unsupported"] == f"of type {name}"
    assert ran.code == 3
    assert f"odd: of type {name}" in ran.err


def test_one_trained_number_is_counted_the_same_with_and_without_a_layout(
    convcore: Run, tmp_path: Path
) -> None:
    torch.save(torch.nn.BatchNorm1d(3).state_dict(), tmp_path / "a.pt")

    counts = [
        sum(row["parameter_count"] for row in convcore(*words).json["components"])
        for words in (
            ("inspect", tmp_path / "a.pt", "--json"),
            ("inspect", tmp_path / "a.pt", "--layout", "plain", "--json"),
        )
    ]

    assert counts == [6, 6]
