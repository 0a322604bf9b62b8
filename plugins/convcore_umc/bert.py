"""BERT's ``config.json``: finding it near a checkpoint, and holding it against the tensors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from convcore import SourceError, UsageError
from convcore.formats import read_json

ACTIVATION = "gelu"
LAYER_NORM_EPS = 1e-12
# Name in config.json to the name of the setting that the tensors show.
SIZES = {
    "hidden_size": "bert_hidden",
    "num_hidden_layers": "bert_layers",
    "intermediate_size": "bert_intermediate",
    "vocab_size": "bert_vocabulary",
    "max_position_embeddings": "bert_positions",
    "type_vocab_size": "bert_segments",
}
# Those that transformers 4 and 5 both know by name.
ACTIVATIONS = frozenset(
    {
        "gelu", "gelu_10", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "linear",
        "mish", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu", "swish", "tanh",
    }
)  # fmt: skip
_FILE = "config.json"
_ABOVE = 5
_LARGEST = 1_000_000
_MOST = 2000
_BERT_NAME = re.compile(r"bert|L-[0-9]+_H-[0-9]+_A-[0-9]+", re.IGNORECASE)


class BertConfig(NamedTuple):
    """What of a ``config.json`` decides what BERT computes and cannot be seen in its tensors.

    Attributes:
        label: Folder and file, as shown to people.
        heads: Attention heads.
        activation: transformers' name of the activation.
        layer_norm_eps: What LayerNorm adds to the variance.
    """

    label: str
    heads: int
    activation: str
    layer_norm_eps: float

    @property
    def computes(self) -> tuple[int, str, float]:
        """Everything but the label: two files with the same of it are one."""
        return self.heads, self.activation, self.layer_norm_eps


def named(text: str, sizes: Mapping[str, int]) -> BertConfig:
    """Read the file, or the folder, that ``--config bert_config=PATH`` names.

    Raises:
        UsageError: It is not there, is no configuration of a BERT, or of one of other sizes.
    """
    path = Path(text)
    try:
        path = path / _FILE if path.is_dir() else path
        config = read_json(path, largest=_LARGEST)
    except (OSError, ValueError, SourceError) as error:
        raise UsageError(
            f"--config bert_config={text} cannot be read: {error}",
            remedy="give the path of the config.json in the BERT folder",
        ) from error
    wrong = objections(config, sizes)
    if wrong:
        raise UsageError(
            f"--config bert_config={text} does not describe the BERT of this checkpoint: "
            f"{'; '.join(wrong)}",
            seen=wrong,
            remedy="give the config.json of the BERT folder that this run was trained with",
        )
    return _facts(path, config)


def nearby(
    home: Path, sizes: Mapping[str, int], *, run: bool
) -> tuple[list[BertConfig], list[str]]:
    """Find every BERT configuration near a checkpoint, and say why others are none of this one.

    Args:
        home: The folder that holds the file; it and the five above are looked into, each with its
            direct subfolders.
        sizes: What the tensors show.
        run: Whether the file lies in a run folder; elsewhere less counts as a BERT folder, because
            any model's configuration is called config.json.

    Returns:
        The configurations that agree with every size, nearest first, and sentences on the others.
    """
    found, said = [], []
    for path in _candidates(home):
        try:
            if path.parent != home and not _bert_folder(path.parent, run=run):
                continue
            config = read_json(path, largest=_LARGEST)
        except (OSError, SourceError) as error:
            said.append(f"{_label(path)} is passed over: {error}")
            continue
        if not _looks_like_bert(config):
            continue
        wrong = objections(config, sizes)
        if wrong:
            said.append(f"{_label(path)} describes another BERT: {'; '.join(wrong)}")
        else:
            found.append(_facts(path, config))
    return found, said


def objections(config: Any, sizes: Mapping[str, int]) -> list[str]:
    """Say what in a configuration contradicts the tensors, or is beyond what UMC builds."""
    if not isinstance(config, Mapping):
        return [f"it holds a {type(config).__name__}, not an object"]
    if config.get("model_type", "bert") != "bert":
        return [f"model_type is {config['model_type']!r}, not 'bert'"]
    wrong = [
        f"{name} is {config[name]!r}, the tensors have {sizes[setting]}"
        for name, setting in SIZES.items()
        if name in config and config[name] != sizes[setting]
    ]
    heads, width = config.get("num_attention_heads"), sizes["bert_hidden"]
    if type(heads) is not int or heads < 1 or width % heads:
        wrong.append(f"num_attention_heads is {heads!r}, which does not divide {width}")
    activation = config.get("hidden_act", ACTIVATION)
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        wrong.append(f"hidden_act is {activation!r}, which is not known here")
    eps = config.get("layer_norm_eps", LAYER_NORM_EPS)
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 <= eps < 1:
        wrong.append(f"layer_norm_eps is {eps!r}, no small number")
    if config.get("position_embedding_type", "absolute") != "absolute":
        wrong.append(f"position_embedding_type is {config['position_embedding_type']!r}")
    # Either would make it a decoder, whose attention is causal.
    decoder = ("is_decoder", "add_cross_attention")
    return wrong + [f"{name} is set" for name in decoder if config.get(name)]


def _looks_like_bert(config: Any) -> bool:
    """Configurations from before 2020 name no model type; nearly all have these two sizes."""
    if not isinstance(config, Mapping):
        return False
    model = config.get("model_type", "bert" if "type_vocab_size" in config else None)
    return model == "bert" and "num_attention_heads" in config


def _candidates(home: Path) -> Iterator[Path]:
    seen = set()
    for path in _everywhere(home):
        # A folder on the way up is also a subfolder of the next one. Links are not followed: what
        # counts as a BERT folder depends on its name.
        place = os.path.normpath(path)
        if place not in seen:
            seen.add(place)
            yield path


def _everywhere(home: Path) -> Iterator[Path]:
    for folder in (home, *home.parents[:_ABOVE]):
        if (folder / _FILE).is_file():
            yield folder / _FILE
        try:
            inside = sorted(each for each, _ in zip(folder.iterdir(), range(_MOST), strict=False))
            yield from (each / _FILE for each in inside if (each / _FILE).is_file())
        except OSError:  # a folder that may not be listed
            continue


def _bert_folder(folder: Path, *, run: bool) -> bool:
    """Whether a folder holds a vocabulary, or only files and (outside of runs) BERT's name."""
    if any((folder / name).is_file() for name in ("vocab.txt", "tokenizer.json")):
        return True
    named = run or _BERT_NAME.search(folder.name) is not None
    return named and not any(each.is_dir() for each in folder.iterdir())


def _facts(path: Path, config: Mapping[str, Any]) -> BertConfig:
    return BertConfig(
        _label(path),
        config["num_attention_heads"],
        config.get("hidden_act", ACTIVATION),
        float(config.get("layer_norm_eps", LAYER_NORM_EPS)),
    )


def _label(path: Path) -> str:
    return f"{path.absolute().parent.name}/{path.name}"
