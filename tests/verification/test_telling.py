"""Outputs that prove nothing are told from those that do."""

from __future__ import annotations

import numpy as np
import pytest

from convcore.verification.telling import (
    constant_channels,
    never_a_number,
    silence,
    unknown_channels,
)

VARIED = [np.arange(6, dtype=np.float32).reshape(2, 3) + run for run in range(2)]


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        pytest.param(VARIED, None, id="varied"),
        pytest.param([np.full((2, 3), 7, np.float32)] * 2, "is the same", id="constant"),
        pytest.param([np.zeros((0, 3), np.float32)], "is empty", id="empty"),
        pytest.param([np.full((2, 3), np.inf, np.float32)], "no finite number", id="infinite"),
        pytest.param([np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[::-1]],
                     "saturated: it takes no values but 0 and 1", id="saturated"),
    ],
)  # fmt: skip
def test_silence_says_why_an_output_proves_nothing(
    outputs: list[np.ndarray], said: str | None
) -> None:
    found = silence("y", outputs)

    assert found is None if said is None else said in str(found)


def test_channels_that_are_only_nan_are_named_by_axis() -> None:
    broken = [one.copy() for one in VARIED]
    for one in broken:
        one[:, 1] = np.nan
    broken[0][0, 2] = np.nan  # not for every input

    assert list(unknown_channels("y", broken)) == [
        "1 channel of axis -1 of output y, NaN for every input: 1"
    ]
    assert not list(unknown_channels("y", VARIED))
    assert not never_a_number(broken)


def test_channels_that_never_change_are_counted() -> None:
    still = [one.copy() for one in VARIED]
    for one in still:
        one[:, 0] = 4

    assert (constant_channels(still), constant_channels(VARIED)) == (1, 0)
