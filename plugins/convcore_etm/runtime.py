"""From texts to palettes and back, with the files of a finished conversion."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from convcore import LayoutError, UsageError, onnx_runtime
from convcore.formats import read_json
from convcore_etm.assumptions import KIND
from convcore_etm.sidecars import VOCABULARY
from convcore_etm.tensors import COMPONENTS, SIZES
from convcore_etm.tfidf import TfIdf

Array = npt.NDArray[np.float32]
Texts = str | Sequence[str] | npt.ArrayLike
_Function = Callable[[Array], list[Array]]


class Topics(NamedTuple):
    """One row per topic: ``color`` is alpha·rho_color (K, C), ``text`` is alpha·rho_text (K, V)."""

    color: Array
    text: Array


class CrossModal:
    """Translates between texts and palettes through topics.

    Rows are samples. A side that is missing is stood in for as the conversion was told
    (``--config one_sided``).

    Args:
        folder: Output of a conversion.
        backend: ``onnxruntime`` reads ``.onnx`` files, ``torch`` reads ``.pth`` files.

    Raises:
        UsageError: The folder is no output of a conversion, or ``backend`` is unknown.
    """

    def __init__(
        self, folder: str | Path, backend: Literal["onnxruntime", "torch"] = "onnxruntime"
    ) -> None:
        if backend not in ("onnxruntime", "torch"):
            raise UsageError(f"{backend!r} is no backend", remedy="choose 'onnxruntime' or 'torch'")
        self._folder = Path(folder)
        self._backend = backend
        self._config = read_json(_required(self._folder, "model_config.json"))
        self._functions: dict[str, _Function] = {}
        self._tfidf: TfIdf | None = None

    def text_to_color(self, texts: Texts) -> Array:
        """Return palettes (texts, C), values 0 to 1.

        Args:
            texts: One text, several, or TF-IDF rows (texts, V), dense or sparse.

        Raises:
            UsageError: Files that are needed are not there.
            LayoutError: Texts were given and the vectorizer has settings that are not computed.
            ValueError: Rows of another width.
        """
        return self._run("text_to_color", self._text_rows(texts))[1]

    def color_to_text(self, colors: npt.ArrayLike, top: int = 10) -> list[list[str]]:
        """Return the ``top`` most likely words for each palette, the likeliest first.

        Args:
            colors: One palette (C,), or several (palettes, C), values 0 to 1.
            top: How many words.

        Raises:
            UsageError: Files that are needed are not there.
            ValueError: Palettes of another width.
        """
        words = self._words()
        likely = self._run("color_to_text", self._rows(colors, "color_dim"))[1]
        order = np.argsort(-likely, axis=1, kind="stable")[:, :top]
        return [[words[column] for column in row] for row in order.tolist()]

    def encode_text(self, texts: Texts) -> Array:
        """Return the topics (texts, K) of texts alone; each row sums to 1."""
        return self._run("text_to_color", self._text_rows(texts))[0]

    def encode_color(self, colors: npt.ArrayLike) -> Array:
        """Return the topics (palettes, K) of palettes alone; each row sums to 1."""
        return self._run("color_to_text", self._rows(colors, "color_dim"))[0]

    def topics(self) -> Topics:
        """Return what each topic stands for, in colours and in words, before any bias.

        Raises:
            UsageError: No file of the folder holds the matrices.
        """
        alpha, color, text = _matrices(self._folder, ("alpha", "rho_color", "rho_text"))
        return Topics(alpha @ color, alpha @ text)

    def vectorize(self, texts: str | Sequence[str]) -> Array:
        """Return the TF-IDF rows (texts, V) of texts, as training made them."""
        if self._tfidf is None:
            for name in (VOCABULARY, "idf.json"):
                _required(
                    self._folder, name, "convert with tfidf_vectorizer.pkl beside it, or give rows"
                )
            try:
                self._tfidf = TfIdf.load(self._folder)
            except ValueError as error:
                raise LayoutError(
                    str(error), remedy="give TF-IDF rows, made by the vectorizer itself"
                ) from error
        return self._tfidf.transform([texts] if isinstance(texts, str) else texts)

    def _text_rows(self, texts: Texts) -> Array:
        if isinstance(texts, str):
            return self.vectorize(texts)
        if isinstance(texts, Sequence) and all(isinstance(text, str) for text in texts):
            return self.vectorize([str(text) for text in texts])
        if hasattr(texts, "toarray"):  # a sparse matrix, as the vectorizer itself returns it
            texts = texts.toarray()
        rows = np.asarray(texts)
        if rows.dtype.kind == "U":
            return self.vectorize(rows.ravel().tolist())
        return self._rows(texts, "text_dim")

    def _rows(self, values: npt.ArrayLike, size: str) -> Array:
        width = self._config[size]
        rows = np.ascontiguousarray(values, dtype=np.float32)
        if rows.ndim not in (1, 2) or rows.shape[-1] != width:
            raise ValueError(f"rows have shape {rows.shape}, wanted is ({width},) or (n, {width})")
        return rows.reshape(-1, width)

    def _words(self) -> list[str]:
        vocabulary: Mapping[str, int] = read_json(_required(self._folder, VOCABULARY))
        return sorted(vocabulary, key=lambda word: vocabulary[word])

    def _run(self, graph: str, rows: Array) -> list[Array]:
        if graph not in self._functions:
            load = _onnx_function if self._backend == "onnxruntime" else _torch_function
            self._functions[graph] = load(self._folder, graph, self._config)
        return self._functions[graph](rows)


def _required(
    folder: Path, name: str, remedy: str = "give the output folder of convcore convert"
) -> Path:
    path = folder / name
    if not path.is_file():
        raise UsageError(f"{folder} has no {name}", remedy=remedy)
    return path


def _onnx_function(folder: Path, graph: str, config: Mapping[str, Any]) -> _Function:
    path = _required(folder, f"{graph}.onnx", "convert with --to onnx, or choose backend='torch'")
    session = onnx_runtime.session(path)
    (given,) = session.get_inputs()

    def function(rows: Array) -> list[Array]:
        return list(session.run(None, {given.name: rows}))

    return function


def _torch_function(folder: Path, graph: str, config: Mapping[str, Any]) -> _Function:
    import torch

    from convcore_etm import nets

    kind = {"text_to_color": nets.TextToColor, "color_to_text": nets.ColorToText}[graph]
    sizes = {name: config[name] for name in SIZES}
    more = {name: config[name] for name in KIND if name in config}
    try:
        module = kind(**sizes, zero=config["one_sided"] == "zero", **more)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"model_config.json beside the weights describes a network that is not computed: "
            f"{error}",
            remedy="convert the checkpoint again, with --config for what it says of its layers",
        ) from error
    state: dict[str, Any] = {}
    for part in COMPONENTS:
        if hasattr(module, part.name) and getattr(module, part.name) is not None:
            remedy = "convert with --to pth, or choose backend='onnxruntime'"
            path = _required(folder, f"{part.file}.pth", remedy)
            tree = torch.load(path, map_location="cpu", weights_only=True)
            state |= {f"{part.name}.{name}": tensor for name, tensor in _flat(tree)}
    module.load_state_dict(state)
    module.eval()

    def function(rows: Array) -> list[Array]:
        with torch.inference_mode():
            return [value.numpy() for value in module(torch.from_numpy(rows))]

    return function


def _flat(tree: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (f"{outer}.{inner}" if inner else outer, tensor)
        for outer, value in tree.items()
        for inner, tensor in (value if isinstance(value, OrderedDict) else {"": value}).items()
    ]


def _matrices(folder: Path, names: Sequence[str]) -> list[Array]:
    """Read matrices of the decoder from whichever file of the folder holds them."""
    from convcore.formats import open_archive

    for name in ("best_decoder.pth", "best_decoder.safetensors", "best_model.pth"):
        if (folder / name).is_file():
            tree = open_archive(folder / name).tree
            return [tree[matrix].numpy() for matrix in names]
    import onnx
    from onnx import numpy_helper

    for name in ("decoder.onnx", "full.onnx"):
        if (folder / name).is_file():
            stored = {each.name: each for each in onnx.load(folder / name).graph.initializer}
            found = [stored[key] for matrix in names for key in stored if _is(matrix, key)]
            if len(found) == len(names):
                return [numpy_helper.to_array(each) for each in found]
    raise UsageError(
        f"no file of {folder} holds the decoder's matrices",
        remedy="convert with --to pth, --to safetensors or --to onnx, the decoder among them",
    )


def _is(matrix: str, key: str) -> bool:
    return key == matrix or key.endswith(f".{matrix}")
