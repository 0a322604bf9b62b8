"""Settling what UMC's tensors do not say: option, then file, then known dataset, else unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from convcore import LayoutMatch, Settler
from convcore.layouts.layout import Origin
from convcore.layouts.settings import positive, true_or_false
from convcore_umc import bert
from convcore_umc.datasets import DATASETS, Dataset
from convcore_umc.runs import run_folder
from convcore_umc.schema import bert_layers, encoder_layers

OPTIONS = {"bert_config": "path of the config.json in the BERT folder"}
# All BERT-base models have 12 heads; nothing of this size with another number was ever published.
_BASE = {"bert_hidden": 768, "bert_layers": 12, "bert_intermediate": 3072}
_BASE_HEADS = 12


def configure(match: LayoutMatch, settler: Settler) -> None:
    """Settle every setting; what nobody knows gets the value None and the origin ``unknown``."""
    keys = match.checkpoint.tensors
    counted = {
        "bert_layers": bert_layers(keys),
        "video_layers": encoder_layers(keys, "video"),
        "audio_layers": encoder_layers(keys, "audio"),
    }
    sizes = {name: settler.from_shape(name, n) for name, n in {**match.sizes, **counted}.items()}
    _settle_bert(match, settler, sizes)
    name = str(match.checkpoint.metadata.get("dataset"))
    dataset = DATASETS.get(name)
    if dataset is not None:
        settler.put("num_labels", dataset.num_labels, "dataset")
        settler.note(
            f"the folder's name alone says that the dataset is {name}; values with the origin "
            "dataset are those that UMC publishes for it"
        )
        _compare(name, dataset, sizes, settler)
    # Another width was another configuration: its head count is anybody's guess, and parity could
    # not see a wrong one, since both sides would compute it.
    published = dataset is not None and dataset.sizes["base_dim"] == sizes["base_dim"]
    _settle(settler, "nheads", _divisor(sizes["base_dim"]), name, dataset if published else None)
    _settle(settler, "attn_mask", true_or_false, name, dataset)
    _settle(settler, "text_length", _at_most(sizes["bert_positions"]), name, dataset)
    _settle(settler, "video_length", positive, name, dataset)
    _settle(settler, "audio_length", positive, name, dataset)
    unknown = [n for n, setting in settler.settings.items() if setting.origin == "unknown"]
    if unknown:
        settler.note(
            f"neither the file nor its surroundings say {', '.join(unknown)}: "
            f"ONNX needs {' '.join(f'--config {n}=…' for n in unknown)}"
        )


def _settle(
    settler: Settler,
    setting: str,
    convert: Callable[[Any], Any],
    name: str,
    dataset: Dataset | None,
) -> None:
    """Settle one setting; the dataset's value must be legal for these tensors too."""
    value = None if dataset is None else getattr(dataset, setting)
    try:
        convert(value)
    except ValueError as error:
        if value is not None:
            settler.note(f"{setting} {value}, which {name} is published with, cannot be: {error}")
        value = None
    settler.assume(setting, value, None if value is None else "dataset", read=convert)


def _compare(name: str, dataset: Dataset, sizes: Mapping[str, int], settler: Settler) -> None:
    differ = [
        f"{size} {sizes[size]} instead of {published}"
        for size, published in dataset.sizes.items()
        if sizes[size] != published
    ]
    if differ:
        settler.note(
            f"this run was not configured as {name} is published: {', '.join(differ)}; values "
            "taken from the dataset may be others too, and --config sets them"
        )


def _settle_bert(match: LayoutMatch, settler: Settler, sizes: Mapping[str, int]) -> None:
    config = _bert_config(match, settler, sizes)
    base = all(sizes[size] == value for size, value in _BASE.items())
    usual = config.heads if config else _BASE_HEADS if base else None
    origin: Origin | None = "file" if config else "guess" if base else None
    heads = settler.assume("bert_heads", usual, origin, read=_divisor(sizes["bert_hidden"]))
    if config is not None and heads is not None and heads != config.heads:
        settler.note(f"{config.label} says {config.heads} heads: bert_heads={heads} wins")
    if settler.settings["bert_heads"].origin == "guess":
        settler.note("no config.json near, but every BERT of this size (BERT-base) has 12 heads")
    if config is not None:
        settler.assume("bert_activation", config.activation, "file")
        settler.assume("bert_layer_norm_eps", config.layer_norm_eps, "file")
    else:
        settler.assume("bert_activation")
        settler.assume("bert_layer_norm_eps")


def _bert_config(
    match: LayoutMatch, settler: Settler, sizes: Mapping[str, int]
) -> bert.BertConfig | None:
    path = settler.config.get("bert_config")
    if path is not None:
        chosen = bert.named(path, sizes)
        settler.put("bert_config", chosen.label, "option")
        return chosen
    file = match.checkpoint.path.absolute()
    home = file if file.is_dir() else file.parent
    found, said = bert.nearby(home, sizes, run=run_folder(file) is not None)
    if len({config.computes for config in found}) > 1:
        every = ", ".join(f"{each.label} ({each.heads} heads)" for each in found)
        settler.note(f"{every} all fit and differ: --config bert_config=PATH chooses")
        return None
    if not found:
        for sentence in said:
            settler.note(sentence)
        return None
    settler.put("bert_config", found[0].label, "file")
    return found[0]


def _divisor(width: int) -> Callable[[Any], int]:
    def convert(given: Any) -> int:
        heads = positive(given)
        if width % heads:
            raise ValueError(f"a width of {width} cannot be shared by {heads} heads")
        return heads

    return convert


def _at_most(positions: int) -> Callable[[Any], int]:
    def convert(given: Any) -> int:
        length = positive(given)
        if length > positions:
            raise ValueError(f"BERT has {positions} positions here")
        return length

    return convert
