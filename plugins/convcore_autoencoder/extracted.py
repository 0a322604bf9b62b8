"""Source ``autoencoder-extracted``: the encoder without its whole model, or inside a bigger one.

The origin's ``extract_encoder.py`` and ``save_encoder_weights`` write ``encoder_state_dict`` with
keys such as ``stem.0.weight``; a model that uses the encoder as a backbone has them under a longer
prefix (``sem_encoder.encoder.``). Either way they get the names the layout knows, ``encoder.…``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from convcore import Checkpoint, Input, LazyTensor, UsageError
from convcore.formats import as_mapping
from convcore.sources import beside, follow, make_checkpoint, state_dict_of, state_dicts

NAME = "autoencoder-extracted"
_ENCODER, _DECODER, _OUTSIDE = "encoder.", "decoder.", "outside."
# One key of each part that no other known network has; most of them must agree on the prefix.
_MARKS = (
    "stem.3.weight",
    "attention1.spatial_conv.3.weight",
    "attention3.channel_attention.1.weight",
    "se_block.fc.2.weight",
    "depth_enhance.3.weight",
    "multiscale_fusion.0.weight",
)
_ENOUGH = 4


def read(given: Input) -> Checkpoint | None:
    """Read a file whose only encoder lies anywhere but at ``encoder.``; None for any other."""
    if given.archive is None:
        return None
    tree = given.archive.tree
    found: Mapping[str, Mapping[str, LazyTensor]] = {}
    if given.key is not None:
        try:
            found = {given.key: follow(given, tree, given.key)}
        except UsageError:
            return None  # a set of weights in a flat file, or nothing: the general source tells
    elif bare := state_dict_of(tree):
        found = {"": bare}
    elif isinstance(tree, Mapping):
        found = state_dicts(tree)
    holders = [key for key, names in found.items() for _ in _homes(names)]
    if len(holders) != 1:
        return None
    key = holders[0]
    rest = beside(tree, key) if key else {}
    said = f"state dict under {key!r}" if key else "state dict: bare"
    checkpoint = make_checkpoint(given, found[key], source=NAME, beside=rest, evidence=(said,))
    # Wrapper prefixes are gone now: what is left is where the encoder was put on purpose.
    (home,) = _homes(checkpoint.tensors)
    if home == _ENCODER:
        return None
    return _renamed(checkpoint, home, as_mapping(rest.get("model_config")) or {})


def _homes(names: Mapping[str, LazyTensor]) -> list[str]:
    """Return every prefix under which most of the encoder's marks stand."""
    votes = Counter(key[: -len(mark)] for key in names for mark in _MARKS if key.endswith(mark))
    return [home for home, count in votes.items() if count >= _ENOUGH and home[-1:] in ("", ".")]


def _renamed(checkpoint: Checkpoint, home: str, config: Mapping[Any, Any]) -> Checkpoint:
    """Put the encoder, and a decoder beside it, under the names the layout knows."""
    moves = {home: _ENCODER}
    if home.endswith(_ENCODER):
        moves[home.removesuffix(_ENCODER) + _DECODER] = _DECODER
    names = {}
    for name in checkpoint.tensors:
        prefix = next((old for old in moves if name.startswith(old)), None)
        if prefix is not None:
            names[name] = moves[prefix] + name[len(prefix) :]
        else:
            # The bigger model may have an encoder of its own: not to be mixed with this one.
            names[name] = _OUTSIDE + name if name.startswith((_ENCODER, _DECODER)) else name
    said = f"the encoder's keys {f'lie under {home!r}' if home else 'have no prefix'}, "
    said += f"read as {_ENCODER!r}"
    outside = sum(new.startswith(_OUTSIDE) for new in names.values())
    if outside:
        said += f"; {outside} keys of another encoder or decoder are put under {_OUTSIDE!r}"
    return attrs.evolve(
        checkpoint,
        tensors={new: checkpoint.tensors[old] for old, new in names.items()},
        hyper_parameters=checkpoint.hyper_parameters or config,
        evidence=(*checkpoint.evidence, said),
        renamed={
            new: checkpoint.original(old)
            for old, new in names.items()
            if new != checkpoint.original(old)
        },
    )
