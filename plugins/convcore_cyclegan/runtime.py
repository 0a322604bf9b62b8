"""Converting features with the files of a finished conversion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from convcore import UsageError, onnx_runtime
from convcore_cyclegan.assumptions import KIND
from convcore_cyclegan.normalisation import FILE, Normalisation, read_normalisation

Array = npt.NDArray[np.float32]
_Network = Callable[[Array], Array]


class FeatureConverter:
    """Turns raw features of one domain into raw features of the other.

    Where the normalisation is not known, features go in and come out normalised. For the early
    architecture the position of each frame, 0 for the first and 1 for the last, is added here.
    A direction is loaded when it is first used, so one generator's file is enough for its own.

    Args:
        folder: Output of a conversion, with ONNX or weight files of the generators.
        backend: ``onnxruntime`` reads ``.onnx`` files, ``torch`` reads ``.pth`` files.

    Raises:
        UsageError: The folder has neither generator's file for the backend.
        LayoutError: The normalisation beside them is broken.
    """

    def __init__(
        self, folder: str | Path, backend: Literal["onnxruntime", "torch"] = "onnxruntime"
    ) -> None:
        folder = Path(folder)
        if backend not in ("onnxruntime", "torch"):
            raise UsageError(f"{backend!r} is no backend", remedy="choose 'onnxruntime' or 'torch'")
        config = _config(folder)
        self.early: bool = config.get("version") == "early"
        self.channels: int = config["output_dim" if self.early else "input_dim"]
        self._folder, self._config, self._backend = folder, config, backend
        self._networks: dict[str, _Network] = {}
        if not any(_file(folder, way, backend).is_file() for way in ("AB", "BA")):
            raise _missing(folder, "AB", backend)
        path = folder / FILE
        known = path.is_file() and not self.early
        self.normalisation: Normalisation | None = (
            read_normalisation(path, self.channels) if known else None
        )

    def convert_A_to_B(self, features: npt.ArrayLike) -> Array:  # the origin's name
        """Convert features of domain A, shaped (d,), (time, d) or (batch, time, d).

        Raises:
            ValueError: The array has another shape.
            UsageError: The folder has the other direction only, or the file is damaged.
        """
        return self._convert(features, "AB")

    def convert_B_to_A(self, features: npt.ArrayLike) -> Array:  # the origin's name
        """Convert features of domain B; shapes as for the other way."""
        return self._convert(features, "BA")

    def _convert(self, features: npt.ArrayLike, way: Literal["AB", "BA"]) -> Array:
        given = np.asarray(features, dtype=np.float32)
        if given.ndim not in (1, 2, 3) or given.shape[-1] != self.channels:
            raise ValueError(
                f"features have shape {given.shape}, wanted is ({self.channels},), "
                f"(time, {self.channels}) or (batch, time, {self.channels})"
            )
        if given.size == 0:
            return given.copy()
        x = given.reshape((1,) * (3 - given.ndim) + given.shape)
        if self.early:
            position = np.linspace(0, 1, x.shape[1], dtype=np.float32)[None, :, None]
            x = np.concatenate([x, np.broadcast_to(position, (*x.shape[:2], 1))], axis=2)
        network = self._network(way)
        known = self.normalisation
        if known is None:
            return network(x).reshape(given.shape)
        a, b = _arrays(known.mean_a, known.std_a), _arrays(known.mean_b, known.std_b)
        (mean_in, std_in), (mean_out, std_out) = (a, b) if way == "AB" else (b, a)
        y: Array = network((x - mean_in) / std_in) * std_out + mean_out
        return y.reshape(given.shape)

    def _network(self, way: str) -> _Network:
        if way not in self._networks:
            path = _file(self._folder, way, self._backend)
            if not path.is_file():
                raise _missing(self._folder, way, self._backend)
            load = _onnx_network if self._backend == "onnxruntime" else _torch_network
            self._networks[way] = load(path, self._config)
        return self._networks[way]


def _arrays(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Array, Array]:
    return np.array(mean, np.float32), np.array(std, np.float32)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "model_config.json"
    if not path.is_file():
        raise UsageError(
            f"{folder} has no {path.name}", remedy="give the output folder of convcore convert"
        )
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def _file(folder: Path, way: str, backend: str) -> Path:
    return folder / f"generator_{way}{'.onnx' if backend == 'onnxruntime' else '.pth'}"


def _missing(folder: Path, way: str, backend: str) -> UsageError:
    path = _file(folder, way, backend)
    target = path.suffix.removeprefix(".")
    if _file(folder, way[::-1], backend).is_file():
        remedy = f"convert the checkpoint again with --to {target} --component {path.stem}, or "
        remedy += "without --component for both directions"
    else:
        remedy = f"convert the checkpoint with --to {target}, or choose the other backend"
    return UsageError(f"{folder} has no {path.name}", remedy=remedy)


def _onnx_network(path: Path, config: dict[str, Any]) -> _Network:
    session = onnx_runtime.session(path)

    def network(x: Array) -> Array:
        converted: Array = session.run(["converted"], {"features": np.ascontiguousarray(x)})[0]
        return converted

    return network


def _torch_network(path: Path, config: dict[str, Any]) -> _Network:
    import torch

    from convcore_cyclegan import nets

    early = config.get("version") == "early"
    arguments = config if early else config["generator_config"]
    if early:
        names = ("input_dim", "output_dim", "hidden_dims", "output_activation", *KIND)
        arguments = {key: config[key] for key in names if key in config}
    try:
        module: torch.nn.Module = (nets.EarlyGenerator if early else nets.Generator)(**arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"model_config.json beside {path.name} describes a network that is not computed",
            seen=[f"{type(error).__name__}: {error}"],
            remedy="convert the checkpoint again, with --config for what it says of its layers",
        ) from error
    try:
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise UsageError(
            f"{path.name} does not hold the weights of one generator and nothing else",
            seen=str(error).splitlines()[1:9],
            remedy="convert the checkpoint again, or choose the other backend",
        ) from error
    module.eval()

    def network(x: Array) -> Array:
        with torch.inference_mode():
            converted: Array = module(torch.from_numpy(np.ascontiguousarray(x))).numpy()
        return converted

    return network
