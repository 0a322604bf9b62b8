"""What the keys of a CycleGAN checkpoint say of its networks, and all keys they should have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Literal, NamedTuple

from convcore import Schema, TensorSpec
from convcore.layouts.graph import Shape

GENERATORS = ("generator_AB", "generator_BA")
DISCRIMINATORS = ("discriminator_A", "discriminator_B")
# What the early module calls them.
EARLY = {"generator_AB": "generator_A_to_B", "generator_BA": "generator_B_to_A"}

_STACK = re.compile(r"([A-Za-z_]+)\.(encoder|decoder|model)\.(\d{1,9})\.\w+")
_BLOCK = re.compile(r"([A-Za-z_]+)\.residual_blocks\.(\d{1,9})\.\w+\.\d+\.\w+")
_STATISTICS = ("weight", "bias", "running_mean", "running_var")
# Layers from one Linear to the next: Linear, BatchNorm, LeakyReLU, Dropout; early: no Dropout.
_STEP, _EARLY_STEP = 4, 3


class Structure(NamedTuple):
    """Counts read from the keys of all networks of a kind, so that a missing key shows.

    Attributes:
        version: ``early`` normalises after the activation (``PlMotorModule``).
        depth: Linear layers of a generator's encoder.
        blocks: Residual blocks of a generator.
        batch_norm: Whether a generator's encoder and decoder normalise.
        discriminators: Those that are there.
        judge_depth: Linear layers of a discriminator below its last.
        judge_batch_norm: Whether a discriminator normalises.
    """

    version: Literal["current", "early"]
    depth: int
    blocks: int
    batch_norm: bool
    discriminators: tuple[str, ...]
    judge_depth: int
    judge_batch_norm: bool

    def prefix(self, generator: str) -> str:
        """What the generator's keys start with."""
        return f"{EARLY[generator] if self.version == 'early' else generator}."


def read_structure(keys: Iterable[str]) -> Structure | None:
    """Count layers and blocks; None where no generator's keys are there."""
    names = list(keys)
    early = tuple(EARLY.values())
    wanted: tuple[str, ...]
    generators = tuple(name.partition(".")[0] for name in names)
    if any(name in GENERATORS for name in generators):
        version: Literal["current", "early"] = "current"
        wanted, step = GENERATORS, _STEP
    elif any(name in early for name in generators):
        version, wanted, step = "early", early, _EARLY_STEP
    else:
        return None
    # An index beyond what this many tensors can fill is no count but a forgery.
    limit = _STEP * len(names)
    layers: dict[str, Counter[int]] = {"encoder": Counter(), "decoder": Counter()}
    judging: Counter[int] = Counter()
    blocks: Counter[int] = Counter()
    present = set()
    for name in names:
        stack, block = _STACK.fullmatch(name), _BLOCK.fullmatch(name)
        if stack and int(stack[3]) <= limit:
            if stack[2] != "model" and stack[1] in wanted:
                layers[stack[2]][int(stack[3])] += 1
            elif stack[2] == "model" and stack[1] in DISCRIMINATORS:
                judging[int(stack[3])] += 1
                present.add(stack[1])
        elif block and block[1] in wanted and int(block[2]) < len(names):
            blocks[int(block[2])] += 1
    depth = max(_last(layers[part], step, len(wanted)) for part in layers) // step + 1
    return Structure(
        version,
        depth=depth,
        blocks=max(_full(blocks), default=-1) + 1,
        batch_norm=_normalises(layers["encoder"] + layers["decoder"]),
        discriminators=tuple(name for name in DISCRIMINATORS if name in present),
        judge_depth=max(1, _last(judging, _STEP, len(present)) // _STEP),
        judge_batch_norm=_normalises(judging),
    )


def _last(found: Counter[int], step: int, networks: int) -> int:
    """Return the index of the last Linear: half of its weights and biases are there at least.

    So one tensor that is missing is missed, and one too many makes no layer.
    """
    linear = (index for index, keys in found.items() if index % step == 0 and keys >= networks)
    return max(linear, default=0)


def _full(blocks: Counter[int]) -> list[int]:
    """Return the blocks that hold at least a quarter of what the fullest one does."""
    return [index for index, keys in blocks.items() if 4 * keys >= max(blocks.values())]


def _normalises(found: Counter[int]) -> bool:
    """Whether norms stand behind the Linear layers, and not just a stray key or two."""
    linear = sum(keys for index, keys in found.items() if index % _STEP == 0)
    norms = sum(keys for index, keys in found.items() if index % _STEP == 1)
    return 4 * norms > linear


def schema(tensors: Mapping[str, TensorSpec]) -> Schema:
    """Return every key of the networks that are there.

    Sizes: ``d`` channels, ``h0``, ``h1``, ... widths of a generator, ``e0``, ``e1``, ... widths of
    a discriminator; early networks read ``c`` channels and give ``d``.
    """
    found = read_structure(tensors)
    if found is None:
        return Schema({})
    shapes: dict[str, Shape] = {}
    for generator in GENERATORS:
        keys = _early_generator(found) if found.version == "early" else _generator(found)
        shapes.update((found.prefix(generator) + key, shape) for key, shape in keys)
    for discriminator in found.discriminators:
        keys = _early_discriminator() if found.version == "early" else _discriminator(found)
        shapes.update((f"{discriminator}.model.{key}", shape) for key, shape in keys)
    return Schema(shapes)


def widths(prefix: str, depth: int) -> list[str]:
    """Return the names of ``depth`` sizes: ``h0``, ``h1``, ..."""
    return [f"{prefix}{place}" for place in range(depth)]


Keys = Iterator[tuple[str, Shape]]


def _generator(found: Structure) -> Keys:
    hidden = widths("h", found.depth)
    for place, (before, after) in enumerate(pairwise(["d", *hidden])):
        yield from _linear(f"encoder.{_STEP * place}", before, after)
        if found.batch_norm:
            yield from _norm(f"encoder.{_STEP * place + 1}", after)
    inner = hidden[-1]
    for block in range(found.blocks):
        for index in (0, 4):
            yield from _linear(f"residual_blocks.{block}.block.{index}", inner, inner)
            yield from _norm(f"residual_blocks.{block}.block.{index + 1}", inner)
    mirrored = hidden[::-1]
    for place, (before, after) in enumerate(pairwise(mirrored)):
        yield from _linear(f"decoder.{_STEP * place}", before, after)
        if found.batch_norm:
            yield from _norm(f"decoder.{_STEP * place + 1}", after)
    yield from _linear(f"decoder.{_STEP * (found.depth - 1)}", mirrored[-1], "d")


def _discriminator(found: Structure) -> Keys:
    hidden = widths("e", found.judge_depth)
    for place, (before, after) in enumerate(pairwise(["d", *hidden])):
        yield from _linear(str(_STEP * place), before, after)
        if found.judge_batch_norm:
            yield from _norm(str(_STEP * place + 1), after)
    yield from _linear(str(_STEP * found.judge_depth), hidden[-1], 1)


def _early_generator(found: Structure) -> Keys:
    hidden = widths("h", found.depth)
    mirrored = hidden[::-1]
    for stack, sizes in (("encoder", ["c", *hidden]), ("decoder", mirrored)):
        for place, (before, after) in enumerate(pairwise(sizes)):
            yield from _linear(f"{stack}.{_EARLY_STEP * place}", before, after)
            yield from _norm(f"{stack}.{_EARLY_STEP * place + 2}", after)
    yield from _linear(f"decoder.{_EARLY_STEP * (found.depth - 1)}", mirrored[-1], "d")


def _early_discriminator() -> Keys:
    yield from _linear("0", "c", "e0")
    yield from _norm("2", "e0")
    yield from _linear("3", "e0", "e1")
    yield from _norm("5", "e1")
    yield from _linear("6", "e1", "e2")
    yield from _linear("8", "e2", 1)


def _linear(key: str, before: int | str, after: int | str) -> Keys:
    yield f"{key}.weight", (after, before)
    yield f"{key}.bias", (after,)


def _norm(key: str, width: int | str) -> Keys:
    for name in _STATISTICS:
        yield f"{key}.{name}", (width,)
    yield f"{key}.num_batches_tracked", ()
