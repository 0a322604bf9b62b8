"""Small values that pickles name and that are neither plain data nor unknown objects."""

from __future__ import annotations

import attrs


@attrs.frozen
class TorchName:
    """A dtype, device, layout, memory format or quantization scheme of torch, by its text."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text
