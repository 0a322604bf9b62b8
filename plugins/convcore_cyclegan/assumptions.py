"""What no tensor of a CycleGAN shows, and the networks compute with.

Source of the values: the origin's ``Generator`` and ``Discriminator``, which take none of them as
an argument; a changed copy of that code may store one beside its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from convcore import Assumption, UsageError
from convcore_cyclegan.structure import DISCRIMINATORS, GENERATORS

_ACTIVATION, _SLOPE = ("activation", "act"), ("negative_slope", "leaky_slope", "slope")
_NORM = ("norm", "norm_type", "norm_layer")
_EPS = ("norm_eps", "bn_eps", "batch_norm_eps", "eps")
_OUTPUT = ("output_activation", "final_activation")
_BATCH = {"batchnorm": "batch", "bn": "batch"}
_SPELT = {"lrelu": "leaky_relu", "swish": "silu"}


def _of(place: str, prefix: str, parts: tuple[str, ...]) -> tuple[Assumption, ...]:
    def stated(names: tuple[str, ...]) -> tuple[str, ...]:
        return (*(f"{place}.{name}" for name in names), *(f"{prefix}{name}" for name in names))

    return (
        Assumption(
            f"{prefix}activation",
            "leaky_relu",
            "activation of every hidden layer",
            stated(_ACTIVATION),
            also=("relu", "gelu", "silu"),
            spellings=_SPELT,
            components=parts,
        ),
        Assumption(
            f"{prefix}negative_slope",
            0.2,
            "slope of the leaky ReLU below 0",
            stated(_SLOPE),
            between=(0, 1),
            components=parts,
        ),
        Assumption(
            f"{prefix}norm",
            "batch",
            "kind of normalisation, where there is one",
            stated(_NORM),
            spellings=_BATCH,
            components=parts,
        ),
        Assumption(
            f"{prefix}norm_eps",
            1e-5,
            "what normalisation adds to the variance",
            stated(_EPS),
            between=(0, 1),
            components=parts,
        ),
    )


OUTPUT = Assumption(
    "output_activation",
    "tanh",
    "activation of the generators' output",
    (*(f"generator_config.{name}" for name in _OUTPUT), *_OUTPUT),
    also=("sigmoid", "identity"),
    spellings={"none": "identity", "linear": "identity"},
    components=GENERATORS,
)
ASSUMED = (
    *_of("generator_config", "", GENERATORS),
    OUTPUT,
    *_of("discriminator_config", "discriminator_", DISCRIMINATORS),
)


def refuse_idle_slope(config: Mapping[str, str]) -> None:
    """Refuse a slope beside an activation that has none.

    Raises:
        UsageError: Both are given as options.
    """
    for each in ASSUMED:
        slope = f"{each.name.removesuffix('activation')}negative_slope"
        if not each.name.endswith("activation") or not {each.name, slope} <= config.keys():
            continue
        with contextlib.suppress(ValueError):  # refused where it is settled
            if each.understand(config[each.name]) != each.value:
                raise UsageError(
                    f"--config {slope} has no effect with {each.name}={config[each.name]}",
                    remedy="leave one of them out",
                )


# Arguments of ``nets.Kind``.
KIND = ("activation", "negative_slope", "norm_eps")
# What training stores that the networks do not depend on, or that the tensors show.
_SHOWN = ("input_dim", "hidden_dims", "n_residual_blocks", "use_batch_norm", "dropout")
KNOWN = (
    *(f"{place}.{name}" for place in ("generator_config", "discriminator_config")
      for name in _SHOWN),
    "input_dim", "learning_rate", "lr_g", "lr_d", "beta1", "beta2", "lambda_*",
    "use_identity_loss", "version", "output_dim", "hidden_dims", "discriminator_hidden_dims",
)  # fmt: skip
