"""Solving symbolic shapes: one wrong tensor is outvoted and named, not believed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import attrs

from convcore.layouts.graph import Shape
from convcore.layouts.layout import Schema
from convcore.noun import Noun
from convcore.tensors import TensorSpec
from convcore.validators import SIZE

_COUNTER = "num_batches_tracked"  # of a normalisation, which schemas need not name


@attrs.frozen(eq=False, repr=False)
class Solution(Noun):
    """What a schema says of a set of tensors.

    Attributes:
        sizes: Size name to value, by majority of the tensors that show it.
        missing: Required keys that are absent, with the shape they should have.
        misshapen: Keys of another shape: (shape found, shape expected).
        extra: Keys the schema does not know.
    """

    sizes: Mapping[str, int]
    missing: Mapping[str, Shape]
    misshapen: Mapping[str, tuple[tuple[int, ...], Shape]]
    extra: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every required key is there with its shape."""
        return not self.missing and not self.misshapen


def solve(schema: Schema, tensors: Mapping[str, TensorSpec]) -> Solution:
    """Solve the sizes by vote, then list every key that contradicts them.

    A size such as ``"3*D"`` votes for D where it divides evenly; ``"H//2"`` votes for ``2*h`` with
    a weaker voice, used only where no tensor shows H itself.
    """
    strong: dict[str, Counter[int]] = defaultdict(Counter)
    weak: dict[str, Counter[int]] = defaultdict(Counter)
    for key, shape in schema.shapes.items():
        spec = tensors.get(key)
        if spec is None or len(spec.shape) != len(shape):
            continue
        for size, axis in zip(spec.shape, shape, strict=True):
            if isinstance(axis, str):
                factor, name, divisor = _parts(axis)
                if divisor > 1:
                    weak[name][size * divisor // factor] += 1
                elif size % factor == 0:
                    strong[name][size // factor] += 1
    votes = {**weak, **strong}
    sizes = {name: counter.most_common(1)[0][0] for name, counter in votes.items()}
    missing, misshapen = {}, {}
    for key, shape in schema.shapes.items():
        expected = tuple(evaluate(axis, sizes) for axis in shape)
        spec = tensors.get(key)
        if spec is None:
            if key not in schema.optional and not key.endswith(_COUNTER):
                missing[key] = expected
        elif spec.shape != expected:
            misshapen[key] = (spec.shape, expected)
    extra = tuple(
        key
        for key in tensors
        if key not in schema.shapes and not (key.endswith(_COUNTER) and _counts(key, schema.shapes))
    )
    return Solution(sizes, missing, misshapen, extra)


def _counts(key: str, shapes: Mapping[str, Shape]) -> bool:
    """Whether the key is the counter of a normalisation whose statistics the schema knows."""
    owner, _, name = key.rpartition(".")
    return name == _COUNTER and f"{owner}.running_mean" in shapes


def evaluate(axis: int | str, sizes: Mapping[str, int]) -> int | str:
    """Put numbers into a symbolic size; a size nothing shows stays symbolic."""
    if isinstance(axis, int):
        return axis
    factor, name, divisor = _parts(axis)
    return factor * sizes[name] // divisor if name in sizes else axis


def _parts(axis: str) -> tuple[int, str, int]:
    found = SIZE.fullmatch(axis)
    if found is None:
        raise ValueError(f"{axis!r} is no size: write it as D, 3*D or D//2")
    return int(found[1] or 1), found[2], int(found[3] or 1)
