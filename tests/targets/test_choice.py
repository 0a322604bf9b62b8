"""Under which names tensors stand in weight files: they load into the class that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import convcore
from convcore.errors import LayoutError, UsageError


class Innermost(nn.Module):
    """A U-Net's habit: a module called ``model`` inside a module called ``model``."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3))


class Lone(nn.Module):
    """One layer: all its keys share more than the prefix that is to be kept."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(3, 2))


def toml(path: Path, keep: str, more: str = "") -> Path:
    table = f'[components.net]\nkeys = ["a.net."]\nkeep = "{keep}"\n{more}\n'
    path.write_text(f'name = "kept"\nsummary = "s"\n{table}')
    return path


def checkpoint(network: nn.Module, folder: Path, prefix: str = "a.net.") -> Path:
    state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    torch.save({**state, "other.weight": torch.ones(1)}, folder / "m.pt")
    return folder / "m.pt"


@pytest.mark.parametrize("network", [Innermost, Lone])
@pytest.mark.parametrize("target", ["pth", "safetensors"])
def test_a_kept_prefix_is_the_first_of_that_name_below_the_component(
    network: type[nn.Module], target: str, tmp_path: Path
) -> None:
    path = checkpoint(network(), tmp_path)

    layout = toml(tmp_path / "l.toml", "model.")
    convcore.convert(path, tmp_path / "out", target, layout_file=layout)

    network().load_state_dict(load(tmp_path / "out" / f"net.{target}"), strict=True)


def load(path: Path) -> Any:
    if path.suffix == ".pth":
        return torch.load(path, weights_only=True)
    from safetensors.torch import load_file

    return load_file(path)


def test_a_prefix_to_keep_that_the_keys_do_not_share_is_refused(tmp_path: Path) -> None:
    path = checkpoint(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3)), tmp_path)

    with pytest.raises(LayoutError, match=r"are to keep 'model\.', which its keys do not share"):
        convcore.convert(path, tmp_path / "out", layout_file=toml(tmp_path / "l.toml", "model."))


@pytest.mark.parametrize(
    ("keep", "more"), [("model", ""), ("model.", "whole_names = true")], ids=["no dot", "both"]
)
def test_a_prefix_to_keep_that_could_do_nothing_is_refused(
    keep: str, more: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="describes no layout") as caught:
        convcore.inspect(
            checkpoint(Innermost(), tmp_path), layout_file=toml(tmp_path / "l.toml", keep, more)
        )

    assert "ends with a dot" in caught.value.seen[0] or "leave out keep" in caught.value.seen[0]


@pytest.mark.parametrize("wrapper", ["", "module.", "module._orig_mod."])
def test_a_flat_file_of_an_unknown_model_loads_into_the_class_that_was_trained(
    wrapper: str, tmp_path: Path
) -> None:
    state = {f"{wrapper}{key}": value for key, value in Innermost().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "m.pt")

    report = convcore.convert(tmp_path / "m.pt", tmp_path / "out", "state-dict", layout="plain")

    Innermost().load_state_dict(load(tmp_path / "out/state_dict.pth"), strict=True)
    (said,) = (line for line in report.manifest.evidence if "prefix" in line)
    assert f"{wrapper}model.model.'" in said
    assert "state-dict files of no known layout keep 'model.'" in said
