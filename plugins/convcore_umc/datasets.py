"""What UMC's own configurations say for the three datasets it is published with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_SIZES = {"base_dim": 256, "bert_hidden": 768, "video_dim": 1024, "audio_dim": 768}


class Dataset(NamedTuple):
    """One dataset's fixed lengths, and what the configurations of all three share.

    Features are cut or zero-padded at the end to these lengths; the padding is not masked, so the
    length is part of the model.

    Source: github.com/thuiar/UMC, ``data/__init__.py`` and ``configs/umc_<dataset>.py``.
    """

    text_length: int
    video_length: int
    audio_length: int
    num_labels: int
    nheads: int = 8
    attn_mask: bool = True
    sizes: Mapping[str, int] = _SIZES


DATASETS: Mapping[str, Dataset] = {
    "MIntRec": Dataset(30, 230, 480, 20),
    "MELD-DA": Dataset(70, 250, 520, 12),
    "IEMOCAP-DA": Dataset(44, 230, 380, 12),
}
