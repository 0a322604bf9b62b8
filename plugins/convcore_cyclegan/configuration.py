"""Settings of a CycleGAN: structure from the tensors, the rest from what training stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convcore import LayoutError, LayoutMatch, Settler
from convcore.formats import as_mapping
from convcore.layouts.settings import departures
from convcore_cyclegan.assumptions import refuse_idle_slope
from convcore_cyclegan.normalisation import FILE, read_normalisation
from convcore_cyclegan.structure import (
    DISCRIMINATORS,
    GENERATORS,
    Structure,
    read_structure,
    widths,
)

# Values of the training that the origin's exporter writes, and what later lines added.
_TRAINING = ("lambda_cycle", "lambda_identity")
_ADDED = ("lambda_fm", "lambda_cycle_a", "lambda_cycle_b")
# Defaults of the origin's classes, which no tensor shows.
_DROPOUT, _JUDGE_DROPOUT = 0.1, 0.2
_HUGE = 1e300


def configure(match: LayoutMatch, settler: Settler) -> None:
    """Settle everything the networks and ``model_config.json`` need.

    Raises:
        LayoutError: The normalisation beside the checkpoint is broken, or an early generator does
            not read exactly one channel more than it gives.
    """
    refuse_idle_slope(settler.config)
    structure = read_structure(match.checkpoint.tensors)
    assert structure is not None  # the layout requires both generators
    settler.put("version", structure.version, "shape")
    if structure.version == "early":
        _configure_early(match, structure, settler)
        return
    stored = settler.hyper_parameters
    sizes = match.sizes
    given = as_mapping(stored.get("generator_config")) or {}
    said = given.get("input_dim", stored.get("input_dim"))
    settler.from_shape("input_dim", sizes["d"], _number(said))
    hidden = [sizes[name] for name in widths("h", structure.depth)]
    settler.from_shape("hidden_dims", hidden, _widths(given.get("hidden_dims")))
    said = _number(given.get("n_residual_blocks"))
    settler.from_shape("n_residual_blocks", structure.blocks, said)
    settler.from_shape("use_batch_norm", structure.batch_norm, _flag(given.get("use_batch_norm")))
    _settle_dropout(settler, "dropout", _DROPOUT, given.get("dropout"))
    judging = as_mapping(stored.get("discriminator_config")) or {}
    if structure.discriminators:
        hidden = [sizes[name] for name in widths("e", structure.judge_depth)]
        settler.from_shape("discriminator_hidden_dims", hidden, _widths(judging.get("hidden_dims")))
        norm = structure.judge_batch_norm
        settler.from_shape(
            "discriminator_use_batch_norm", norm, _flag(judging.get("use_batch_norm"))
        )
    else:
        _keep(settler, "discriminator_hidden_dims", _widths(judging.get("hidden_dims")))
        _keep(settler, "discriminator_use_batch_norm", _flag(judging.get("use_batch_norm")))
    _settle_dropout(settler, "discriminator_dropout", _JUDGE_DROPOUT, judging.get("dropout"))
    _settle_training(stored, settler)
    _settle_normalisation(match, settler)


def documents(match: LayoutMatch) -> dict[str, Any]:
    """Return ``model_config.json`` with the fields of the origin's exporter.

    Unlike there, every value is that of the networks in the files, and both configurations hold the
    ``input_dim`` without which the origin's classes fall back to 40 channels.
    """
    settings = {name: setting.value for name, setting in match.settings.items()}
    if settings["version"] == "early":
        return {"model_config.json": settings | departures(match)}
    channels = settings["input_dim"]
    names = ("hidden_dims", "n_residual_blocks", "dropout", "use_batch_norm")
    judging = ("hidden_dims", "dropout", "use_batch_norm")
    training = ("learning_rate", "lr_g", "lr_d", *_TRAINING, "use_identity_loss", *_ADDED)
    return {
        "model_config.json": {
            "input_dim": channels,
            "generator_config": {
                "input_dim": channels,
                **{name: settings[name] for name in names},
                **departures(match, *GENERATORS),
            },
            "discriminator_config": {
                "input_dim": channels,
                **{name: settings[f"discriminator_{name}"] for name in judging},
                **{
                    name.removeprefix("discriminator_"): value
                    for name, value in departures(match, *DISCRIMINATORS).items()
                },
            },
            "training": {name: settings[name] for name in training if name in settings},
        }
    }


def _configure_early(match: LayoutMatch, structure: Structure, settler: Settler) -> None:
    sizes = match.sizes
    if sizes["c"] != sizes["d"] + 1:
        raise LayoutError(
            f"early generators read one position beside {sizes['d']} features, "
            f"these read {sizes['c']} channels",
            seen=[f"encoder.0.weight reads {sizes['c']}", f"the last layer gives {sizes['d']}"],
            remedy="take the file as it is with --layout plain",
        )
    settler.put("input_dim", sizes["c"], "shape")
    settler.put("output_dim", sizes["d"], "shape")
    hidden = [sizes[name] for name in widths("h", structure.depth)]
    settler.put("hidden_dims", hidden, "shape")
    if structure.discriminators:
        judging = [sizes[name] for name in widths("e", 3)]
        settler.put("discriminator_hidden_dims", judging, "shape")
    settler.note("the early architecture: the last input channel is the position, from 0 to 1")


def _settle_dropout(settler: Settler, name: str, default: float, given: Any) -> None:
    share = _number(given)
    if share is not None and 0 <= share <= 1:
        settler.put(name, share, "hyper_parameters")
        return
    if given is not None:
        settler.note(f"{name} {given!r:.60} of the file is no share of 1: {default} is taken")
    settler.put(name, default, "default")


def _settle_training(stored: Mapping[str, Any], settler: Settler) -> None:
    rates = {name: _number(stored.get(name)) for name in ("lr_g", "lr_d")}
    later = _number(stored.get("learning_rate")) is None and None not in rates.values()
    for name in rates if later else ("learning_rate",):
        _keep(settler, name, _number(stored.get(name)))
    for name in _TRAINING:
        _keep(settler, name, _number(stored.get(name)))
    _keep(settler, "use_identity_loss", _flag(stored.get("use_identity_loss")))
    for name in _ADDED:
        value = _number(stored.get(name))
        if value is not None:
            settler.put(name, value, "hyper_parameters")


def _settle_normalisation(match: LayoutMatch, settler: Settler) -> None:
    path = match.sidecars.get(FILE)
    if path is None:
        settler.put("normalization", None, "unknown")
        settler.note(f"no {FILE} beside the checkpoint or one folder up: features stay normalised")
        return
    unified = read_normalisation(path, match.sizes["d"]).unified
    source = match.checkpoint.path.absolute()
    home = source if source.is_dir() else source.parent
    beside = path.absolute().parent == home
    settler.put(
        "normalization", "unified" if unified else "per domain", "file" if beside else "guess"
    )


def _keep(settler: Settler, name: str, value: Any) -> None:
    settler.put(name, value, "unknown" if value is None else "hyper_parameters")


def _number(value: Any) -> int | float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    # Compared, not converted: an integer of any length is legal JSON and pickle.
    return value if plain and -_HUGE < value < _HUGE else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _widths(value: Any) -> list[int] | None:
    if not isinstance(value, list | tuple):
        return None
    plain = [width for width in value if isinstance(width, int) and not isinstance(width, bool)]
    return plain if len(plain) == len(value) else None
