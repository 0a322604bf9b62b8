"""``verify`` says what it could not compare again, and reads only what it can read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import Ran

Run = Callable[..., Ran]


def checks(ran: Ran, name: str) -> dict[str, str]:
    assert ran.code == 0, ran.err
    found = {c["file"]: c for c in ran.json["checks"] if c["check"] == name}
    return {file: check.get("reason", "") for file, check in found.items()}


def test_parity_without_weight_files_is_said_to_be_skipped(
    convcore: Run, example: Path, tmp_path: Path
) -> None:
    assert convcore("convert", example, "-o", tmp_path / "out", "--to", "onnx").code == 0

    skipped = checks(convcore("verify", tmp_path / "out", "--json"), "parity not re-run")

    assert skipped.keys() == {f"{kind}_{way}.onnx" for kind in ("generator", "convert")
                              for way in ("AB", "BA")}  # fmt: skip
    assert set(skipped.values()) == {"no weight files lie beside it to compute a reference"}
    assert "Parity not re-run" in convcore("verify", tmp_path / "out").out


def test_parity_without_the_layout_s_plugin_is_said_to_be_skipped(
    convcore: Run, example: Path, tmp_path: Path
) -> None:
    words = ("--to", "onnx", "--to", "pth")
    assert convcore("convert", example, "-o", tmp_path / "out", *words).code == 0

    whole = checks(convcore("verify", tmp_path / "out", "--json"), "parity")
    ran = convcore("-p", "no:convcore_cyclegan", "verify", tmp_path / "out", "--json")

    assert len(whole) == 4
    skipped = checks(ran, "parity not re-run")
    assert skipped.keys() == whole.keys()
    assert set(skipped.values()) == {"the layout cyclegan is not installed"}


def test_an_output_without_weights_is_not_compared(
    convcore: Run, example: Path, tmp_path: Path
) -> None:
    assert convcore("convert", example, "-o", tmp_path / "out", "--to", "onnx").code == 0

    ran = convcore("diff", example, tmp_path / "out")

    assert ran.code == 3
    assert "holds no weight files" in ran.err


def test_neighbours_beyond_the_reach_of_float64_differ(convcore: Run, tmp_path: Path) -> None:
    for name, number in (("a.pt", 2**53), ("b.pt", 2**53 + 1)):
        torch.save({"count": torch.tensor([number, 5]), "w": torch.ones(1)}, tmp_path / name)

    (changed,) = convcore("diff", tmp_path / "a.pt", tmp_path / "b.pt", "--json").json["changed"]

    assert changed == {"name": "count", "max_abs": 1.0, "elements_changed": 1, "elements": 2}


@pytest.mark.parametrize("tied", ["head", "format"])
def test_tied_names_survive_safetensors(tied: str, convcore: Run, tmp_path: Path) -> None:
    weight = torch.randn(3, 2)
    torch.save({"emb": weight, tied: weight}, tmp_path / "a.pt")
    words = ("--layout", "plain", "-o")
    first = convcore("convert", tmp_path / "a.pt", *words, tmp_path / "s", "--to", "safetensors")
    if tied == "format":
        assert first.code == 5
        assert "note would be lost" in first.err
        return

    again = convcore("convert", tmp_path / "s/model.safetensors", *words, tmp_path / "p")

    assert again.code == 0, again.err
    loaded = torch.load(tmp_path / "p/model.pth", weights_only=True)
    assert loaded.keys() == {"emb", "head"}
    assert torch.equal(loaded["head"], weight)
    assert loaded["head"].data_ptr() == loaded["emb"].data_ptr()


def test_without_torch_graphs_are_hashed_and_named_as_not_compared(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import convcore_onnx.rechecking as graphs
    from convcore import convert
    from convcore.engine.audit.verify import verify
    from convcore.host.registry import load_registry

    out = tmp_path / "out"
    convert(example, out, ("pth", "onnx"), components="generator_AB")
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)

    checks = verify(out, load_registry())

    assert all(check.passed for check in checks)
    told = {c.file: c.figures["reason"] for c in checks if c.check == "parity not re-run"}
    missing = "torch, onnx, onnxruntime not installed"
    assert told == {"generator_AB.onnx": missing, "convert_AB.onnx": missing}
    assert told.keys() <= {check.file for check in checks if check.check == "sha256"}


def test_a_layout_described_in_a_file_is_given_to_verify_too(
    convcore: Run, example: Path, tmp_path: Path
) -> None:
    torch.save({"enc.weight": torch.ones(2, 3), "enc.bias": torch.ones(2)}, tmp_path / "m.pt")
    layout = tmp_path / "layout.toml"
    drafted = convcore("inspect", tmp_path / "m.pt", "--suggest-layout")
    assert drafted.code == 0, drafted.err
    layout.write_text(drafted.out)
    words = ("--layout-file", layout)
    made = convcore("convert", tmp_path / "m.pt", "-o", tmp_path / "out", *words)
    assert made.code == 0, made.err

    without = convcore("verify", tmp_path / "out")
    given = convcore("verify", tmp_path / "out", *words)

    assert (without.code, given.code) == (0, 0)
    assert "is not installed" in without.out
    assert "is not installed" not in given.out
