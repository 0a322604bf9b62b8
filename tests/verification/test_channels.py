"""A channel is held to its own error in float32, not to that of a larger one beside it."""

from __future__ import annotations

import numpy as np
import pytest

from convcore.verification.channels import FACTOR, SNR_DB, channel_axes, furthest, snr_db

TRUTH = np.random.default_rng(1).standard_normal((64, 2)) * [4000, 0.02]
REFERENCE = TRUTH.astype(np.float32)


@pytest.mark.parametrize(("times", "fits"), [(0.3, True), (3, False)])
@pytest.mark.parametrize("channel", [0, 1], ids=["large", "small"])
def test_a_channel_may_be_some_times_further_than_float32_itself(
    channel: int, times: float, fits: bool
) -> None:
    noise = np.abs(REFERENCE - TRUTH)[:, channel].max()
    found = REFERENCE.copy()
    found[5, channel] += times * FACTOR * noise

    worst = furthest([REFERENCE], [found], [TRUTH])

    assert worst is not None
    assert (worst.axis, worst.index, worst.fits) == (-1, channel, fits)


def test_the_run_with_the_error_is_named() -> None:
    wrong = REFERENCE + np.float32(1)

    worst = furthest([REFERENCE] * 3, [REFERENCE, wrong, REFERENCE], [TRUTH, None, None])

    assert worst is not None
    assert (worst.run, worst.fits) == (1, False)


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        pytest.param([(2, 3, 4, 5)] * 2, [1, -1], id="image"),
        pytest.param([(2, 3), (5, 3)], [-1], id="rows"),
        pytest.param([(2, 3), (2, 4)], [None], id="varying"),
        pytest.param([(2,), (3,)], [None], id="flat"),
    ],
)
def test_channels_lie_along_axes_that_do_not_vary(
    shapes: list[tuple[int, ...]], axes: list[int | None]
) -> None:
    assert list(channel_axes([np.zeros(shape) for shape in shapes])) == axes


def test_a_thousandth_of_the_signal_is_60_db() -> None:
    assert snr_db([TRUTH], [TRUTH * 1.001]) == pytest.approx(SNR_DB)
    assert snr_db([TRUTH], [TRUTH]) is None
