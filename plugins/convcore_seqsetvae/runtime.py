"""Loads what ``--to seqsetvae-finetune`` wrote, ready to train its classifier and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convcore import SourceError, UsageError
from convcore.formats import read_json
from convcore_seqsetvae import nets
from convcore_seqsetvae.rechecking import DOCUMENT
from convcore_seqsetvae.transfer import ATTENTION, EPS, SIZES

_AGAIN = "convert the pretraining checkpoint again"


class FinetuneModel(nets.Sequence):
    """SeqSetVAE in classification-only mode; its parameters have the names of the checkpoint.

    Parts that this mode never computes (the decoders) are held as frozen parameters, so that the
    state dict stays whole.

    Args:
        encoder: The set encoder.
        classifier: The head to train.
        sizes: Arguments of ``nets.Sequence``: width, heads, inner, layers.
        eps: Its keyword arguments ``norm_eps`` and ``post_norm_eps``.
    """

    def __init__(
        self,
        encoder: nets.SetEncoder,
        classifier: nets.SeedHead,
        sizes: Sequence[int],
        **eps: Any,
    ) -> None:
        super().__init__(*sizes, **eps)
        self.setvae = nn.ModuleDict({"setvae": encoder})
        self.cls_head = classifier

    def forward(  # type: ignore[override]  # it starts one step earlier, at the measurements
        self, sets: Sequence[tuple[torch.Tensor, torch.Tensor]], minutes: torch.Tensor
    ) -> torch.Tensor:
        """Classify one patient.

        Args:
            sets: In order of time, each ``variables`` (1, n, input_dim) and ``values`` (1, n, 1).
            minutes: (1, S), one per set.

        Returns:
            Logits (1, classes).
        """
        posteriors = [self.setvae["setvae"](*one) for one in sets]
        mu, logvar = (torch.stack(part, dim=1) for part in zip(*posteriors, strict=True))
        return self.classify(mu, logvar, minutes)

    def classify(
        self, mu: torch.Tensor, logvar: torch.Tensor, minutes: torch.Tensor
    ) -> torch.Tensor:
        """Posteriors ``mu``, ``logvar`` (1, S, D) and ``minutes`` (1, S) to logits (1, classes)."""
        hidden = super().forward(nets.fuse_seed(mu, logvar), minutes)
        logits: torch.Tensor = self.cls_head(self.pool(hidden))
        return logits


def load_finetune(folder: Path | str) -> FinetuneModel:
    """Load a folder that ``--to seqsetvae-finetune`` wrote, everything frozen but ``cls_head``.

    Raises:
        UsageError: The folder has no ``transfer.json``.
        SourceError: ``transfer.json`` is damaged, or the checkpoint is not the one it describes.
    """
    home = Path(folder)
    if not (home / DOCUMENT).is_file():
        raise UsageError(
            f"{home} has no {DOCUMENT}",
            remedy="make it with convcore convert --to seqsetvae-finetune",
        )
    document, configuration = read_json(home / DOCUMENT), read_json(home / "model_config.json")
    try:
        path = home / Path(document["file"]).name
        frozen, trained = set(document["freeze"]), set(document["train"])
        classes = int(document["num_classes"])
        eps = {name: configuration[name] for name in EPS if name in configuration}
        configuration = {name: configuration[name] for name in (*SIZES, *ATTENTION)} | eps
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{home}: {DOCUMENT} and model_config.json do not describe a model: {error}",
            remedy=_AGAIN,
        ) from error
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    if set(state) != frozen | trained:
        raise SourceError(
            f"{path} does not hold the tensors that {DOCUMENT} names",
            seen=sorted(set(state) ^ (frozen | trained))[:20],
            remedy=_AGAIN,
        )
    model = build(configuration, state, classes)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return model


def build(
    configuration: Mapping[str, Any], state: Mapping[str, torch.Tensor], classes: int
) -> FinetuneModel:
    """Make the model that ``configuration`` (``model_config.json``) describes and fill it.

    Raises:
        UsageError: The numbers of attention heads are not known.
    """
    missing = [name for name in ATTENTION if configuration[name] is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} are in no file, and the model cannot be computed without",
            remedy=f"convert again with {' '.join(f'--config {name}=…' for name in missing)}",
        )
    inputs, reduced, width, levels, points, inner, layers = (configuration[name] for name in SIZES)
    eps = {name: configuration[name] for name in EPS if name in configuration}
    norm = {name: value for name, value in eps.items() if name == "norm_eps"}
    heads = configuration["heads"]
    encoder = nets.SetEncoder(inputs, reduced, width, levels, heads, points, **norm)
    sizes = (width, configuration["transformer_heads"], inner, layers)
    model = FinetuneModel(encoder, nets.SeedHead(width, classes), sizes, **eps)
    nets.set_norm_eps(model.cls_head, model.norm_eps)
    own = set(model.state_dict())
    for key, tensor in state.items():
        if key not in own:
            _hold(model, key, tensor)
    model.load_state_dict(dict(state))
    return model.eval()


def _hold(module: nn.Module, key: str, tensor: torch.Tensor) -> None:
    """Register a parameter under its dotted name, in empty modules made on the way."""
    *path, name = key.split(".")
    for part in path:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    module.register_parameter(name, nn.Parameter(tensor.clone()))
