"""A function of a model: what goes in, what comes out, which network computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from convcore import validators as legal
from convcore.noun import Noun

if TYPE_CHECKING:
    import numpy as np
    import torch

Role = Literal["inference", "training"]
Shape = tuple[int | str, ...]


# Plain typed functions as converters, because mypy cannot see through converter=tuple.
def _strings(keys: str | Iterable[str]) -> tuple[str, ...]:
    return (keys,) if isinstance(keys, str) else tuple(keys)


def _axes(shape: Iterable[int | str]) -> Shape:
    return tuple(shape)  # a Size among them stays one


def _ends(ends: Axis | Iterable[Axis]) -> tuple[Axis, ...]:
    return (ends,) if isinstance(ends, Axis) else tuple(ends)


class Size(str):
    """Name of a dynamic axis of which not every size is legal; equal to the plain name.

    Attributes:
        least: Its smallest size (a convolution without padding needs as much as its kernel).
        multiple: Sizes are multiples of this number (of what the network halves and doubles).
        check: Sizes at which the graph is held against its network, besides those that convcore
            chooses by itself.
    """

    least: int
    multiple: int
    check: tuple[int, ...]

    def __new__(
        cls, name: str, least: int = 1, multiple: int = 1, check: Iterable[int] = ()
    ) -> Size:
        """Check that the sizes of ``check`` are legal themselves; ValueError where they are not."""
        made = super().__new__(cls, name)
        made.least, made.multiple, made.check = least, multiple, tuple(check)
        if not name or least < 1 or multiple < 1:
            raise ValueError(f"Size({name!r}, {least}, {multiple}): a name, and numbers from 1 on")
        wrong = [size for size in made.check if size < least or size % multiple]
        if wrong:
            raise ValueError(
                f"{name} is checked at {wrong[0]}, but is at least {least} and a multiple of "
                f"{multiple}"
            )
        return made

    def legal(self, size: int) -> int:
        """Return the smallest legal size that is not below ``size``."""
        return -(-max(size, self.least) // self.multiple) * self.multiple


@attrs.frozen(eq=False, repr=False)
class Axis(Noun):
    """One input or output of a graph; an axis given by name may vary at run time.

    Attributes:
        name: Name in the ONNX file.
        shape: Sizes; a name (``"batch"``, ``"time"``) marks a dynamic axis, a ``Size`` one of
            which not every size is legal (``Size("height", least=16, multiple=4)``).
        dtype: ``float32`` or ``int64``.
        sample: Makes a legal example, ``(random generator, concrete shape) -> array``; None draws
            normal numbers, or indices of the tables that the network looks up. Needed where not
            every number is legal (sorted minutes, masks that fit their tokens).
    """

    name: str
    shape: Shape = attrs.field(converter=_axes)
    dtype: str = attrs.field(default="float32", validator=legal.word("float32", "int64"))
    sample: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray[Any, Any]] | None = (
        attrs.field(default=None, eq=False, repr=False)
    )


@attrs.frozen(eq=False, repr=False)
class Affine(Noun):
    """Normalisation around a graph: ``y = f((x - mean_in) / std_in) * std_out + mean_out``.

    Each is one float per channel of the last axis.
    """

    mean_in: tuple[float, ...]
    std_in: tuple[float, ...]
    mean_out: tuple[float, ...]
    std_out: tuple[float, ...]


@attrs.frozen(eq=False, repr=False)
class Graph(Noun):
    """One function to export and to time, computed by one or more components.

    Attributes:
        name: Stem of the ONNX file.
        components: Whose weights it needs. With one, the network's state dict has that component's
            keys (common prefix removed); with several, one submodule per component, so named.
        inputs: In order of the network's arguments.
        outputs: In order of what the network returns (a tensor, or a tuple of them).
        network: Builds the torch module, without weights; torch is imported inside it.
        role: ``training`` graphs are exported with ``--all-components`` only.
        base: Name of another graph that this one wraps with ``affine``; no second export is made.
        affine: Normalisation around ``base``.
        call: Class in ``Layout.nets`` and its keyword arguments, plain values, that make the same
            network; lets ``inference_example.py`` rebuild it for a weight file.
        refusal: Why this graph cannot be exported; asking for it then is an error with this text.
        missing: ``--config`` names that would lift the refusal; the error is then a ``LayoutError``
            that names those of every graph asked for at once.
    """

    name: str = attrs.field(validator=legal.stem)
    components: tuple[str, ...] = attrs.field(converter=_strings)
    inputs: tuple[Axis, ...] = attrs.field(converter=_ends, validator=legal.series_of(lambda: Axis))
    outputs: tuple[Axis, ...] = attrs.field(
        converter=_ends, validator=legal.series_of(lambda: Axis)
    )
    network: Callable[[], torch.nn.Module] = attrs.field(
        eq=False, repr=False, validator=legal.function
    )
    role: Role = attrs.field(default="inference", validator=legal.word("inference", "training"))
    base: str | None = None
    affine: Affine | None = attrs.field(default=None, repr=False)
    call: tuple[str, Mapping[str, Any]] | None = None
    refusal: str | None = None
    missing: tuple[str, ...] = ()
