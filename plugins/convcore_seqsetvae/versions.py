"""Which of SeqSetVAE's many versions wrote a checkpoint, read from its keys alone.

Source of the fingerprints: github.com/sxtforreal/SeqSetVAE, every commit of ``model.py`` and
``modules.py`` from f85552b to its head.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

Stage = Literal["pretraining", "finetuning", "set-vae"]

# Where the set encoder's keys begin, by the class that was saved.
PREFIXES: dict[str, Stage] = {
    "set_encoder.": "pretraining",
    "setvae.setvae.": "finetuning",
    "setvae.": "set-vae",
}
FUSION = ("feature_fusion.", "feature_projection.", "vae_feature_fusion.")
LEGACY_SEQUENCE = ("pos_embedding", "pos_embedding.", "time_encoder.", "inv_freq")
_SEQUENCE = ("rel_time_bucket_embed.", "alibi_slope", "time_tau")
_STACK = ("4", "5", "8", "9", "12")
# Head to what it is; the first three are computed.
HEADS = {
    "seed": "four Linear layers with norms beside vae_feature_fusion (c08c0f7, 470a81d)",
    "advanced": "self-attention and two gated pathways (from aac6cb2)",
    "gaussian_mil": "one Gaussian per class on every set's posterior (from bf13a4e)",
    "two-linear": "two Linear layers (874d339)",
    "linear": "one Linear layer (45b4bf7)",
    "temperature": "one Linear layer with a temperature (20f67f7)",
    "norms": "four Linear layers with norms, mean of the last set and all (cfc9bcf)",
    "gated": "four Linear layers with norms and pooling_gate (a92350e)",
    "pre-seed": "a head from before vae_feature_fusion (f85552b up to the seed version)",
}
COMPUTED = frozenset({"seed", "advanced", "gaussian_mil"})
_GATED = ("advanced", "gaussian_mil")  # younger than a92350e, from which on every model has a gate


class Version(NamedTuple):
    """What the keys say about the code that wrote them.

    Attributes:
        prefix: Where the set encoder's keys begin.
        stage: Which class was saved: a pretraining, a finetuning or the stand-alone set VAE.
        head: Name of the classifier head, see ``HEADS``; None where there is none.
        reduced: Whether the set encoder has ``dim_reducer``.
        early_encoder: Whether the set encoder is older than 3e35a2e, whose mathematics differ.
        early_sequence: Whether the sequence part is older than de86393.
        flows: Whether the set encoder has planar flows.
        gated: Whether there is a ``pooling_gate``, or should be.
    """

    prefix: str
    stage: Stage
    head: str | None
    reduced: bool
    early_encoder: bool
    early_sequence: bool
    flows: bool
    gated: bool

    @property
    def encoder_refusal(self) -> str | None:
        """Why the set encoder cannot be computed, or None."""
        if self.early_encoder:
            return (
                "the set encoder is of an early version (embed as one Linear, mu_logvar.2 or "
                "pma_agg, before commit 3e35a2e), which is split but not computed"
            )
        if self.flows:
            return "the set encoder has planar flows (flows.*), which are not computed"
        return None

    @property
    def sequence_refusal(self) -> str | None:
        """Why the transformer over the sets cannot be computed, or None."""
        if self.early_sequence:
            return (
                "the sequence part is of an early version (pos_embedding, time_encoder or "
                "inv_freq, before commit de86393), which is split but not computed"
            )
        return None

    @property
    def head_refusal(self) -> str | None:
        """Why the classifier cannot be computed, or None."""
        if self.head is None or self.head in COMPUTED:
            return None
        return (
            f"the classifier head {self.head!r}, {HEADS[self.head]}, is split but not computed; "
            f"computed are {', '.join(sorted(COMPUTED))}"
        )


def recognise(keys: Collection[str]) -> Version:
    """Read the version from the keys of a state dict; some may be missing or foreign."""
    prefix = encoder_prefix(keys)
    stage = PREFIXES[prefix]
    inner = {key.removeprefix(prefix) for key in keys if key.startswith(prefix)}
    early_sequence = has(keys, *LEGACY_SEQUENCE) and not has(keys, *_SEQUENCE)
    head = _head(keys, early_sequence) if stage == "finetuning" else None
    return Version(
        prefix=prefix,
        stage=stage,
        head=head,
        reduced=has(inner, "dim_reducer."),
        early_encoder=has(inner, "embed.weight", "embed.bias", "mu_logvar.2.", "pma_agg."),
        early_sequence=early_sequence,
        flows=has(inner, "flows."),
        gated="pooling_gate" in keys or head in _GATED,
    )


def encoder_prefix(keys: Collection[str]) -> str:
    """Return the longest prefix of ``PREFIXES`` that most of the set encoder's keys have."""
    claimed = [max((p for p in PREFIXES if key.startswith(p)), key=len, default="") for key in keys]
    return max(PREFIXES, key=claimed.count)


def has(keys: Collection[str], *patterns: str) -> bool:
    """Whether any key is one of the patterns, or begins with one that ends in a dot."""
    begins = tuple(pattern for pattern in patterns if pattern.endswith("."))
    return any(key in patterns or key.startswith(begins) for key in keys)


def _head(keys: Collection[str], early_sequence: bool) -> str:
    inner = {key.removeprefix("cls_head.") for key in keys if key.startswith("cls_head.")}
    if has(inner, "feature_enhancer.", "pathway1.", "pathway2.", "pre_classifier."):
        return "advanced"
    if has(inner, "log_tau2", "log_prior", "alpha_logits"):
        return "gaussian_mil"
    if "temperature" in keys:
        return "temperature"
    if early_sequence or (has(keys, *FUSION) and not has(keys, "vae_feature_fusion.")):
        return "pre-seed"
    if has(keys, "vae_feature_fusion."):
        return "seed"
    if has(inner, *(f"{index}." for index in _STACK)):
        return "gated" if "pooling_gate" in keys else "norms"
    if has(inner, "3."):
        return "two-linear"
    return "linear" if inner else "seed"  # no head at all: then the seed's keys are missing
