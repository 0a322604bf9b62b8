"""Small values that pickles name and that are neither plain data nor unknown objects."""

from __future__ import annotations

import attrs

from convcore.noun import Noun


@attrs.frozen(eq=False, repr=False)
class TorchName(Noun):
    """A dtype, device, layout, memory format or quantization scheme of torch, by its text."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text
