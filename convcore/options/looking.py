"""Options of ``inspect`` and of ``convcore.open_checkpoint``."""

from __future__ import annotations

from pathlib import Path

import attrs

from convcore.options.field import option
from convcore.options.shared import CHECKPOINT, Opening, Recognising
from convcore.options.values import as_path


@attrs.frozen(eq=False, repr=False, kw_only=True, init=False)
class Looking(Recognising):
    """How much is told of a model."""

    tensors: bool = option(False, "List every tensor.")
    deep: bool = option(False, "Read every byte: CRCs and bounds of all tensors.")


@attrs.frozen(eq=False, repr=False)
class OpenOptions(Opening):
    """What ``convcore.open_checkpoint`` takes."""

    checkpoint: Path = attrs.field(alias="path", converter=as_path, metadata=CHECKPOINT)


@attrs.frozen(eq=False, repr=False)
class InspectOptions(Looking):
    """What ``inspect`` takes."""

    checkpoint: Path = attrs.field(alias="path", converter=as_path, metadata=CHECKPOINT)
