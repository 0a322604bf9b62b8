"""The encoder for use in Python: loading, freezing, encoding, saving.

Names, arguments and the keys of ``get_model_info`` are those of the origin's interface class; its
traps are not: weights that do not fit are an error here, and a constant array is encoded.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convcore import LayoutMatch, UsageError
from convcore.names import nearest
from convcore.targets.weights import local_names
from convcore_autoencoder.files import MODEL_TYPE
from convcore_autoencoder.loading import read_encoder, refuse_other_sizes, weight_file
from convcore_autoencoder.nets import Encoder, set_norm_eps

_CHANNELS, _LATENT = 1, 768


class SemanticEncoder(nn.Module):
    """An image encoder that can also be a backbone: the network lies under ``encoder``.

    With weights it starts in evaluation mode; a model that trains it further calls ``train()``.

    Args:
        input_channels: Channels of the image; None takes the file's, or 1 without a file.
        latent_dim: Numbers per embedding; None takes the file's, or 768 without a file.
        pretrained_path: File or folder for ``load_pretrained_weights``.
        freeze_weights: Whether the parameters start frozen.
        device: Where to compute; None takes a GPU where there is one.

    Raises:
        ConvcoreError: The file cannot be read, or is not such an encoder, whole and of these sizes.
    """

    encoder: Encoder

    def __init__(
        self,
        input_channels: int | None = None,
        latent_dim: int | None = None,
        pretrained_path: str | Path | None = None,
        freeze_weights: bool = False,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__()
        self.pretrained_path: str | None = None
        self._stated = {"input_channels": input_channels, "latent_dim": latent_dim}
        self.input_channels = _CHANNELS if input_channels is None else input_channels
        self.latent_dim = _LATENT if latent_dim is None else latent_dim
        if pretrained_path is None:
            self.encoder = Encoder(self.input_channels, self.latent_dim)
        else:
            self.load_pretrained_weights(pretrained_path)
            self.eval()
        self.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if freeze_weights:
            self.freeze_parameters()

    @property
    def device(self) -> torch.device:
        """Where the weights are now."""
        return next(self.encoder.parameters()).device

    @property
    def freeze_weights(self) -> bool:
        """Whether no parameter is trainable."""
        return self.count_parameters(only_trainable=True) == 0

    def load_pretrained_weights(self, pretrained_path: str | Path) -> bool:
        """Load an encoder from any file that convcore reads as one, completely or not at all.

        A training checkpoint, a bare state dict (with or without ``encoder.``), an extracted file,
        a bigger model that holds one encoder, or a folder that convcore or the training wrote.
        Where the file's widths differ from the network's, the network is replaced by one of the
        file's widths; sizes that were given to the constructor must be the file's.

        Returns:
            True; whatever is wrong raises.

        Raises:
            FileNotFoundError: There is nothing at the path.
            ConvcoreError: The file is damaged or unsafe, keys are missing, unexpected or of another
                shape, or its sizes are not those given.
        """
        match = read_encoder(weight_file(Path(pretrained_path)))
        refuse_other_sizes(match, self._stated)
        names = local_names(match, "encoder")
        state = {local: match.checkpoint.tensors[name].load() for local, name in names.items()}
        self._make_room(match, state)
        set_norm_eps(self.encoder, match.value("norm_eps"))
        # Every key and shape has been checked; only batch-norm counters may be absent.
        self.encoder.load_state_dict(state, strict=False)
        self.pretrained_path = str(pretrained_path)
        return True

    def _make_room(self, match: LayoutMatch, state: dict[str, torch.Tensor]) -> None:
        """Replace the network by one of the file's widths, unless it has them already."""
        before = self._modules.get("encoder")
        own = {} if before is None else before.state_dict()
        same = all(key in own and own[key].shape == value.shape for key, value in state.items())
        if same and sum(key not in state for key in own if "num_batches" not in key) == 0:
            return
        self.input_channels = match.value("input_channels")
        self.latent_dim = match.value("latent_dim")
        encoder = Encoder(
            self.input_channels,
            self.latent_dim,
            **match.value("encoder_widths"),
        )
        if before is not None:
            encoder.to(self.device).train(before.training)
            encoder.requires_grad_(not self.freeze_weights)
        self.encoder = encoder

    def freeze_parameters(self, freeze: bool = True) -> None:
        """Freeze all parameters, or thaw them; batch-norm statistics still follow ``train()``."""
        self.encoder.requires_grad_(not freeze)

    def freeze_layers(self, layer_names: str | Iterable[str]) -> int:
        """Freeze modules or parameters by their exact name inside the encoder (``layer1``).

        Returns:
            How many parameter tensors lie in them.

        Raises:
            UsageError: The encoder has no module or parameter of a name; nothing is frozen then.
        """
        wanted = [layer_names] if isinstance(layer_names, str) else list(layer_names)
        parameters = dict(self.encoder.named_parameters())
        known = {*parameters, *(name for name, _ in self.encoder.named_modules() if name)}
        unknown = [name for name in wanted if name not in known]
        if unknown:
            seen = ["; ".join((name, *nearest(name, known, 3))) for name in unknown]
            raise UsageError(
                f"the encoder has no layer {', '.join(unknown)}",
                seen=seen,
                remedy="use exact names, for example stem, layer1, layer3.0 or fc",
            )
        frozen = [
            parameter
            for key, parameter in parameters.items()
            if any(f"{key}.".startswith(f"{name}.") for name in wanted)
        ]
        for parameter in frozen:
            parameter.requires_grad_(False)
        return len(frozen)

    def count_parameters(self, only_trainable: bool = False) -> int:
        """Count the encoder's parameters (numbers, not tensors)."""
        parameters = self.encoder.parameters()
        return sum(p.numel() for p in parameters if p.requires_grad or not only_trainable)

    def get_model_info(self) -> dict[str, Any]:
        """Return sizes, parameter counts, device, and where the weights came from."""
        return {
            "model_type": MODEL_TYPE,
            "input_channels": self.input_channels,
            "latent_dim": self.latent_dim,
            "total_parameters": self.count_parameters(),
            "trainable_parameters": self.count_parameters(only_trainable=True),
            "frozen": self.freeze_weights,
            "device": str(self.device),
            "pretrained_path": self.pretrained_path,
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width), any size, to (batch, latent_dim)."""
        embedding: torch.Tensor = self.encoder(x.to(self.device))
        return embedding

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Do the same as ``forward``: in the module's mode, with gradients."""
        return self.forward(x)

    @torch.no_grad()
    def encode_batch(self, x: torch.Tensor, batch_size: int | None = None) -> torch.Tensor:
        """Encode many images without gradients, in evaluation mode, ``batch_size`` at a time.

        Args:
            x: Images (n, channels, height, width), n may be 0.
            batch_size: Images per pass; None takes all at once.

        Returns:
            Embeddings (n, latent_dim) on the device of ``x``. The mode is left as it was.

        Raises:
            ValueError: ``batch_size`` is below 1.
        """
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if len(x) == 0:
            return torch.zeros(0, self.latent_dim, device=x.device)
        training = self.training
        self.eval()
        try:
            parts = [self(part).to(x.device) for part in torch.split(x, batch_size or len(x))]
        finally:
            self.train(training)
        return torch.cat(parts)

    def encode_numpy(
        self, x: np.ndarray[Any, Any], batch_size: int | None = None, normalize: bool = True
    ) -> np.ndarray[Any, Any]:
        """Encode an array of raw images of any number type.

        Args:
            x: (n, height, width) for one channel, or (n, channels, height, width).
            batch_size: Images per pass; None takes all at once. It does not change the scaling.
            normalize: Scale the minimum of the WHOLE array to -1 and its maximum to 1, as the
                origin does: an image's embedding then depends on the others in the call. In an
                array of one constant every pixel is the minimum, so all become -1. False takes the
                numbers as they are; training used numbers from -1 to 1.

        Returns:
            Embeddings (n, latent_dim), float32.

        Raises:
            ValueError: ``x`` has other axes or channels, or holds NaN or infinity while scaling.
        """
        with np.errstate(over="ignore"):  # what float32 cannot hold is found below, as infinity
            images = np.array(x, dtype=np.float32)
        if images.ndim == 3:
            images = images[:, None]
        if images.ndim != 4 or images.shape[1] != self.input_channels:
            raise ValueError(
                f"x has shape {np.shape(x)}; (n, {self.input_channels}, height, width) is needed, "
                "or (n, height, width) for one channel"
            )
        if normalize and images.size:
            images = _scaled(images)
        embeddings: np.ndarray[Any, Any] = self.encode_batch(
            torch.from_numpy(images), batch_size
        ).numpy()
        return embeddings

    def save_encoder_weights(self, save_path: str | Path) -> None:
        """Save the encoder as the origin's interface class does; every loader here reads it.

        The file holds ``encoder_state_dict`` (on the CPU), ``model_config`` and ``model_info``, in
        which ``pretrained_path`` is kept without its folder.
        """
        state = self.encoder.state_dict()
        for key, value in state.items():
            state[key] = value.cpu()
        info = self.get_model_info()
        if self.pretrained_path is not None:
            info["pretrained_path"] = Path(self.pretrained_path).name
        config = {name: info[name] for name in ("input_channels", "latent_dim", "model_type")}
        torch.save(
            {"encoder_state_dict": state, "model_config": config, "model_info": info}, save_path
        )

    def __repr__(self) -> str:
        info = self.get_model_info()
        return (
            f"SemanticEncoder(input_channels={info['input_channels']}, "
            f"latent_dim={info['latent_dim']}, parameters={info['total_parameters']:,} "
            f"({info['trainable_parameters']:,} trainable), device={info['device']}, "
            f"frozen={info['frozen']})"
        )


def create_semantic_encoder(
    pretrained_path: str | Path,
    input_channels: int | None = None,
    latent_dim: int | None = None,
    freeze_weights: bool = False,
    device: str | torch.device | None = None,
) -> SemanticEncoder:
    """Return a ``SemanticEncoder`` with weights; the arguments are those of its constructor."""
    return SemanticEncoder(input_channels, latent_dim, pretrained_path, freeze_weights, device)


def _scaled(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Scale the whole array from its minimum and maximum to -1 and 1."""
    low = float(images.min())
    span = float(images.max()) - low
    if not span <= np.finfo(np.float32).max:
        raise ValueError("x holds NaN or infinity, or spans more than float32; mend it first")
    if span == 0:
        return np.full_like(images, -1)
    scaled: np.ndarray[Any, Any] = (images - low) / span * 2 - 1
    return scaled
