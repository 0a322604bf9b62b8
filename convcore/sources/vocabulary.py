"""The words of checkpoints: what parameters, training state and wrappers are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from convcore.formats import Opaque, as_mapping
from convcore.tensors import LazyTensor


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Entries that only wrap a network and say nothing of which one it is.
WRAPPERS = _set("state_dict model_state_dict model models module net network weights params")
SUFFIXES = ("_state_dict", "_model")
# Entries that hold what training was told; the first that is there is told of.
HYPER_PARAMETERS = ("hyper_parameters", "hparams", "config", "args", "opt", "cfg")

_PARAMETERS = _set(
    "weight bias weight_g weight_v weight_orig weight_mask weight_u original original0 "
    "original1 in_proj_weight in_proj_bias q_proj_weight k_proj_weight v_proj_weight bias_k "
    "bias_v kernel embeddings gamma beta lora_A lora_B qweight"
)
_BUFFERS = _set("running_mean running_var num_batches_tracked")
_RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

_OPTIMIZERS = _set("optim optims optimizer optimizers opt opts")
_SCHEDULERS = _set("scheduler schedulers sched lrsched")
# Whose optimizer it is, and that it is its state.
_OF = _set(
    "state states dict dicts sd lr of gen dis disc generator discriminator actor critic "
    "policy value alpha encoder decoder enc dec main aux inner outer base warmup"
)
_LAST_OF_HYPER = _set(
    "args kwargs config configs cfg conf hparams hparam hyperparameters hyperparams arguments "
    "options settings"
)
_WHOLE_HYPER = _set("opt opts hyper_parameters hyper_params")
_WHOLE = {
    "callbacks": "callback state", "loops": "loop state", "grad": "gradients",
    "grads": "gradients", "gradient": "gradients", "gradients": "gradients",
    "collected_params": "weights put aside by an average",
}  # fmt: skip
_PERHAPS = {
    **dict.fromkeys(_set("sampler samplers dataloader dataloaders datamodule"), "sampler state"),
    **dict.fromkeys(_set("rng rngs"), "random number state"),
    **dict.fromkeys(
        _set(
            "replay buffer memory rollout rollouts trajectory trajectories experience experiences "
            "transitions"
        ),
        "replay buffer",
    ),
    **dict.fromkeys(_set("metric metrics history losses logs results scores"), "metrics"),
    **dict.fromkeys(_set("sample samples batch inputs outputs noise"), "sample data"),
}
_METRICS = _set(
    "loss losses acc accuracy metric metrics score error perplexity ppl bleu iou miou map auc "
    "best lr epoch epochs step steps iteration iterations iter iters it timestep timesteps "
    "episode episodes time elapsed fitness reward "
    "rewards return psnr ssim fid mse mae rmse nll elbo kl prec precision recall"
)
# Sizes of the state of torch's generators: CPU's, CUDA's.
_RNG_BYTES = (5056, 16)
_AVERAGES = _set("ema swa averaged average shadow polyak")


@lru_cache(maxsize=1024)
def words(name: str) -> tuple[str, ...]:
    """Split an entry's name into its words: ``optimizerG_state`` is optimizer, g, state."""
    return tuple(word.lower() for word in _WORDS.findall(name))


def is_parameter(name: str) -> bool:
    """Whether a dotted name ends like a parameter of a module."""
    owner, _, last = name.rpartition(".")
    known = last in _PARAMETERS or bool(_RECURRENT.fullmatch(last))
    return known or bool(owner and last.endswith(("weight", "bias", "kernel")))


def is_buffer(name: str) -> bool:
    """Whether a dotted name ends like a statistic that a normalisation keeps."""
    return name.rpartition(".")[2] in _BUFFERS


@lru_cache(4096)  # asked again of every name below a module
def averaging(segment: str) -> bool:
    """Whether an entry is called after an average: ``ema``, ``model_ema``, ``netG_swa``."""
    return not _AVERAGES.isdisjoint(words(segment))


def without_average(segment: str) -> str:
    """Return an entry's name without the words for an average: ``g_ema`` is ``g``."""
    parts = re.split(r"[_-]", segment)
    return "_".join(part for part in parts if part.lower() not in _AVERAGES)


def is_metric(name: str, tensor: LazyTensor) -> bool:
    """Whether a loose tensor is a figure of training: one number (or a row) called ``loss``."""
    few = len(tensor.shape) <= 1 and tensor.dtype.startswith(("float", "int", "bfloat"))
    told = _METRICS.intersection(word.rstrip("0123456789") for word in words(name))
    return bool(told) and few and (tensor.nbytes <= 8 or bool(told - {"best"}))


def is_generator_state(tensor: LazyTensor) -> bool:
    """Whether a tensor is the state of a random number generator of torch."""
    return tensor.dtype == "uint8" and tensor.shape in [(size,) for size in _RNG_BYTES]


def training_by_content(value: Any) -> str:
    """Say which state of training a mapping is, by what it holds; "" for none."""
    keys = set(value) if isinstance(value, Mapping) else set()
    if {"state", "param_groups"} <= keys:
        return "optimizer state"
    if "last_epoch" in keys and not keys.isdisjoint({"base_lrs", "_step_count", "_last_lr"}):
        return "scheduler state"
    if {"scale", "growth_factor"} <= keys:
        return "gradient scaler state"
    return ""


def training_by_name(name: str) -> str:
    """Say which state of training an entry is, whatever it holds, by its whole name."""
    if name.lower() in _WHOLE:
        return _WHOLE[name.lower()]
    if name.endswith("_extra_state"):
        return _EXTRA
    said = set(words(name))
    others = {word for word in said if len(word) > 1 and not word.isdigit()} - _OF
    if is_hyper_parameters(name):
        return _HYPER
    if not said.isdisjoint(_OPTIMIZERS) and not others - _OPTIMIZERS:
        return "optimizer state"
    return ""


def perhaps_training(name: str) -> str:
    """Say which state of training an entry is called after; a network of that name is none."""
    said = words(name)
    if not _SCHEDULERS.isdisjoint(said):
        return "scheduler state"
    if {"random", "state"} <= {word.rstrip("s") for word in said}:
        return "random number state"
    return next((_PERHAPS[word] for word in said if word in _PERHAPS), "")


def is_hyper_parameters(name: str) -> bool:
    """Whether an entry holds what training was told: ``config``, ``model_args``, ``opt``."""
    said = words(name) or ("",)
    return name.lower() in _WHOLE_HYPER or said[-1] in _LAST_OF_HYPER


def hyper_parameters(entries: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Return what training stored of its configuration among a file's entries."""
    stored = (as_mapping(entries.get(name)) for name in HYPER_PARAMETERS)
    return next(filter(None, stored), {})


def is_module(value: Any) -> bool:
    """Whether a value is a whole pickled module."""
    state = value.state if type(value) is Opaque else None
    return isinstance(state, dict) and all(
        isinstance(state.get(part), dict) for part in ("_parameters", "_modules")
    )


def any_parameter(names: Iterable[str]) -> bool:
    """Whether one of the names ends like a parameter of a module."""
    return any(map(is_parameter, names))


# What the ledger says of tensors that are not taken, beside the states of training above.
FIGURE, COUNTER, UNFIT = "a figure of training", "counter of an average", "an average that fits "
ASIDE, NO_TENSOR, CHOSEN = "--key", ", not a tensor", "--weights "
OBJECT, ATTRIBUTE_OF, ALONE = "attribute of a ", "plain attribute of ", "beside no network"
ATTACHED = "attached to a tensor"
_HYPER = "hyper-parameter, not part of the model"
_EXTRA = "extra state of a module"
_TOLD = frozenset(
    (
        *_WHOLE.values(), *_PERHAPS.values(), FIGURE, COUNTER, ASIDE, ALONE, ATTACHED, _HYPER,
        _EXTRA,
        "optimizer state", "scheduler state", "gradient scaler state", "random number state",
    )
)  # fmt: skip


def says_why(reason: str) -> bool:
    """Whether a ledger's reason is one of those for what is no part of the model."""
    starts = (UNFIT, CHOSEN, OBJECT, ATTRIBUTE_OF)
    return reason in _TOLD or reason.startswith(starts) or reason.endswith(NO_TENSOR)
