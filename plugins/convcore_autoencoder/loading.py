"""From a path to an encoder's tensors, all of them or an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from convcore import LayoutError, LayoutMatch, UsageError, inspect
from convcore_autoencoder.assumptions import SHAPING

# What a folder is looked through for, in this order: a convcore output, then a training run.
_FILES = (
    "encoder_weights.pth",
    "encoder_weights.safetensors",
    "best_model_weights.pth",
    "best_model.pth",
)


def weight_file(path: Path) -> Path:
    """Return the file to read: the path itself, or the first known name in a folder."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if not path.is_dir():
        return path
    for name in _FILES:
        if (path / name).is_file():
            return path / name
    raise UsageError(
        f"the folder {path} holds no encoder",
        seen=[f"looked for {', '.join(_FILES)}"],
        remedy="give the file itself",
    )


def read_encoder(file: Path) -> LayoutMatch:
    """Read a file as this layout; refuse tensors that the encoder has no place for."""
    match = inspect(file, layout="autoencoder").match
    assert match is not None  # a layout that was named and does not fit is an error
    unsettled = [name for name in SHAPING if match.value(name) is None]
    if unsettled:
        raise LayoutError(
            f"{file.name} says of {', '.join(unsettled)} what the network does not compute",
            seen=[line for line in match.evidence if "is not computed" in line],
            remedy="settle it by converting the file with --config NAME=VALUE, and load the output",
        )
    extra = [key for key in match.extra if key in match.states["encoder"]]
    if extra:
        raise LayoutError(
            f"{file.name} has {len(extra)} more tensors in its encoder than the network takes",
            seen=extra,
            remedy="save the state dict of the encoder alone",
        )
    return match


def refuse_other_sizes(match: LayoutMatch, wanted: Mapping[str, int | None]) -> None:
    """Raise LayoutError where a size that was asked for is not the one of the tensors."""
    seen = [
        f"{name}: {size} was asked for, the tensors say {match.value(name)}"
        for name, size in wanted.items()
        if size is not None and size != match.value(name)
    ]
    if seen:
        raise LayoutError(
            f"{match.checkpoint.path.name} holds an encoder of other sizes",
            seen=seen,
            remedy="leave these arguments out to take the file's sizes",
        )
