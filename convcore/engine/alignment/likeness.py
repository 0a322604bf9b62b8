"""How alike names of tensors are: their words, their parts at either end, their numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.float64]]

# The same parameter under the names that frameworks give it.
_LEAVES = {
    "weight": "weight", "kernel": "weight", "gamma": "weight", "scale": "weight", "w": "weight",
    "bias": "bias", "beta": "bias", "offset": "bias", "b": "bias",
    "running_mean": "mean", "moving_mean": "mean",
    "running_var": "variance", "moving_variance": "variance", "moving_var": "variance",
    "num_batches_tracked": "counter",
    "weight_g": "magnitude", "original0": "magnitude",
    "weight_v": "direction", "original1": "direction",
}  # fmt: skip
_NUMBERS = re.compile(r"\d+")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ENDS = 6


def leaf(name: str) -> str:
    """Return which parameter of its module a key is; '' where its name is none that is known."""
    return _LEAVES.get(name.rpartition(".")[2], "")


def role(name: str) -> str:
    """Return a name without its numbers: the same in every layer."""
    return _NUMBERS.sub("#", name)


def indices(name: str) -> tuple[int, ...]:
    """Return the indices of layers in a name: what a part's own name ends with (norm1) is none."""
    return tuple(int(part[:18]) for part in name.split(".") if part.isdecimal())


def words_of(name: str) -> set[str]:
    """Return the words in a name, less its numbers."""
    return {word.lower() for word in _WORDS.findall(name) if not word.isdecimal()}


def features(names: Sequence[str]) -> list[tuple[list[str], list[str], list[str]]]:
    """Return of each name its words with their pieces, its parts and its numbers."""
    found = []
    for name in names:
        words = [word.lower() for word in _WORDS.findall(name)]
        pieces = {word[n : n + 3] for word in words for n in range(max(1, len(word) - 2))}
        parts = name.split(".")
        # The indices of layers: what a part's own name ends with (norm1) is none.
        found.append((sorted({*words, *pieces}), parts, [p for p in parts if p.isdecimal()]))
    return found


def likeness(
    first: Sequence[tuple[list[str], list[str], list[str]]],
    second: Sequence[tuple[list[str], list[str], list[str]]],
) -> Matrix:
    """Return how alike each of the first is to each of the second, 0 to 1: (first, second)."""
    import numpy as np

    vocabulary: dict[str, int] = {}
    for words, parts, numbers in (*first, *second):
        for text in (*words, *parts, *numbers):
            vocabulary.setdefault(text, len(vocabulary) + 1)
    bags = [_bags(side, vocabulary) for side in (first, second)]
    shared = (bags[0] @ bags[1].T).astype(np.float64)
    words_alike = 2 * shared / (bags[0].sum(1)[:, None] + bags[1].sum(1)[None, :] + 1e-9)
    ends = [_ends([each[1] for each in side], vocabulary, last=True) for side in (first, second)]
    starts = [_ends([each[1] for each in side], vocabulary, last=False) for side in (first, second)]
    here, there = ([each[2] for each in side] for side in (first, second))
    ours, theirs = (_ends(each, vocabulary, last=False)[:, :2] for each in (here, there))
    counted = (ours[:, None] == theirs[None, :]).mean(2)
    total: Matrix = (
        0.45 * words_alike + 0.2 * _agreeing(*ends) + 0.1 * _agreeing(*starts) + 0.25 * counted
    )
    return total


def _bags(side: Sequence[Any], vocabulary: dict[str, int]) -> np.ndarray[Any, Any]:
    import numpy as np

    bags = np.zeros((len(side), len(vocabulary) + 1), np.float32)
    for row, (words, _, _) in enumerate(side):
        bags[row, [vocabulary[word] for word in words]] = 1
    return bags


def _ends(
    lists: Sequence[Sequence[str]], vocabulary: dict[str, int], *, last: bool
) -> np.ndarray[Any, Any]:
    import numpy as np

    table = np.zeros((len(lists), _ENDS), np.int32)
    for row, texts in enumerate(lists):
        chosen = list(reversed(texts))[:_ENDS] if last else texts[:_ENDS]
        table[row, : len(chosen)] = [vocabulary[text] for text in chosen]
    return table


def _agreeing(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Matrix:
    """How many parts agree from that end on, as a share of the longer name's."""
    import numpy as np

    going = np.ones((len(one), len(other)), bool)
    count = np.zeros((len(one), len(other)))
    for place in range(_ENDS):
        here, there = one[:, place][:, None], other[:, place][None, :]
        going &= (here == there) & (here > 0)
        count += going
    longest = np.maximum((one > 0).sum(1)[:, None], (other > 0).sum(1)[None, :])
    share: Matrix = count / np.maximum(longest, 1)
    return share
