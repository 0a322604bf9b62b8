"""What is asked of a measurement, as it crosses from the command to the process that prepares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Request:
    """What is to be timed.

    Attributes:
        path: An output folder of ``convcore convert``, or a checkpoint.
        scratch: Folder for everything made on the way.
        backends: Which contenders will come; ONNX files are needed for one of them only.
        devices: As given on the command line.
        sizes: Axis name to the sizes to try, ``batch`` among them.
        components: Graphs to take, by their name or their only component's; empty takes all that
            are for inference.
        other: Size of a dynamic axis that ``sizes`` does not name.
        seed: Of the inputs.
        conversion: ``layout``, ``source``, ``config``, ``key`` and ``allow_opaque_calls`` for
            reading a checkpoint.
        layout_file: A layout declared in a file.
        disabled: Plugins switched off.
    """

    path: str
    scratch: str
    backends: tuple[str, ...]
    devices: tuple[str, ...]
    sizes: Mapping[str, tuple[int, ...]]
    components: tuple[str, ...] = ()
    other: int = 32
    seed: int = 0
    conversion: Mapping[str, Any] = attrs.field(factory=dict)
    layout_file: str | None = None
    disabled: tuple[str, ...] = ()
